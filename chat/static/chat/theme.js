// Before the first paint: the theme that was chosen on this device. A classic script, since a module would come too late.
{
  const chosen = localStorage.getItem("netra.theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
}

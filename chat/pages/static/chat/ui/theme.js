// The theme that was chosen on this device, before the first paint. A classic script: a module would come too late.
{
  const root = document.documentElement;
  const base = (root.dataset.base ?? "/").replace(/\/$/, "");
  const key = base ? `netra.theme ${base}` : "netra.theme";
  const show = () => {
    const chosen = localStorage.getItem(key);
    if (chosen === "light" || chosen === "dark") root.dataset.theme = chosen;
    else delete root.dataset.theme;
  };
  show();
  addEventListener("storage", (event) => {
    if (event.key === key || event.key === null) show();
  });
}

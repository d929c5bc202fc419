/** The admin: the whole of a shortened id is copied by a button beside it. */

const words = /** @type {HTMLElement} */ (document.querySelector("#words")).dataset;

for (const code of /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll("code[data-id]"))) {
  const { id = "" } = code.dataset;
  const button = document.createElement("button");
  button.type = "button";
  button.className = "copy";
  button.title = words.copy ?? "";
  button.ariaLabel = `${words.copy} ${id}`;
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(id);
    button.dataset.told = words.copied ?? "";
    button.addEventListener("blur", () => delete button.dataset.told, { once: true });
  });
  (code.closest("a") ?? code).after(button);
}

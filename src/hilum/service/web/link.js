// Hover or focus one, see the other: elements with a common word in data-link light up together.

const words = (element) => element.dataset.link.split(" ");

export function startLinks() {
  for (const name of ["pointerover", "focusin"]) {
    document.addEventListener(name, (event) => {
      const over = event.target.closest?.("[data-link]");
      light(over ? words(over) : []);
    });
  }
}

function light(names) {
  for (const element of document.querySelectorAll("[data-link]")) {
    element.classList.toggle("lit", words(element).some((word) => names.includes(word)));
  }
}

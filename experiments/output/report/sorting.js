// A click on a column's head, or Enter, sorts its table by that column: numbers by size, words after them.
const sortBy = (head) => {
  const table = head.closest("table");
  const column = [...head.parentNode.children].indexOf(head);
  const sign = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
  const value = (row) => {
    const text = row.cells[column].textContent.replaceAll(",", "").replaceAll("−", "-");
    return Number.isNaN(parseFloat(text)) ? text : parseFloat(text);
  };
  const order = (a, b) => (typeof a !== typeof b ? (typeof a === "number" ? -1 : 1) : a < b ? -1 : a > b ? 1 : 0);
  for (const other of table.querySelectorAll("th")) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
  [...table.tBodies[0].rows].sort((a, b) => sign * order(value(a), value(b))).forEach((row) => table.tBodies[0].append(row));
};
document.addEventListener("click", (event) => event.target.closest("th") && sortBy(event.target.closest("th")));
document.addEventListener("keydown", (event) => event.key === "Enter" && event.target.closest("th") && sortBy(event.target.closest("th")));

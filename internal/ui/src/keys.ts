// Keys of the page, as opposed to those that are typed into one of its fields.

/** The element that keys go to, also within a shadow tree. */
function focused(): Element | null {
  let element = document.activeElement;
  while (element?.shadowRoot?.activeElement) element = element.shadowRoot.activeElement;
  return element;
}

const isField = (target: unknown) => target instanceof HTMLElement && (target.isContentEditable || target.matches("input, textarea, select"));

/** Whether a key belongs to the field that has the focus, or to an input method
 * that makes words of it. */
export function typing(e: KeyboardEvent): boolean {
  return e.isComposing || e.keyCode === 229 || isField(focused()) || isField(e.composedPath()[0]);
}

/** Whether a key was pressed on its own: no other key held, and not held itself. */
export function alone(e: KeyboardEvent): boolean {
  return !(e.ctrlKey || e.metaKey || e.altKey || e.shiftKey || e.repeat);
}

// The shapes that views rely on, made of whatever came: agents are written by many
// hands, and what one of them sends must not keep the page from showing the rest.

export type Json = any;

/** A text, or a number or truth value as one; of anything else nothing. */
export function text(v: Json): string {
  return typeof v === "string" ? v : typeof v === "number" || typeof v === "boolean" ? String(v) : "";
}

/** An object whose members can be asked for. */
export function object(v: Json): Json {
  return typeof v === "object" && v !== null && !Array.isArray(v) ? v : {};
}

/** The objects of a list. */
export function objects(v: Json): Json[] {
  return Array.isArray(v) ? v.filter((e) => typeof e === "object" && e !== null && !Array.isArray(e)) : [];
}

/** A number that can be counted with. */
export function number(v: Json): number {
  return typeof v === "number" && Number.isFinite(v) ? v : 0;
}

// A fault in one part of the page leaves the others as they are.

import type { ComponentChildren } from "preact";
import { useEffect, useErrorBoundary } from "preact/hooks";

/** Shows its children, or in their place that they cannot be shown, until their
 * version changes. */
export function Guard({ what, version, children }: { what: string; version?: unknown; children: ComponentChildren }) {
  const [fault, reset] = useErrorBoundary();
  useEffect(() => {
    if (fault) reset();
  }, [version]);
  if (fault) return <p class="fault">{what} cannot be shown ({String(fault?.message ?? fault)}).</p>;
  return <>{children}</>;
}

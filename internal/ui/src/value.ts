import { useEffect, useState } from "preact/hooks";

/** A value that components can watch. */
export class Value<T> {
  private watchers = new Set<() => void>();
  private current: T;
  constructor(first: T) {
    this.current = first;
  }
  get(): T {
    return this.current;
  }
  set(next: T) {
    if (Object.is(next, this.current)) return;
    this.current = next;
    this.changed();
  }
  /** Tells the watchers that something inside the value is different. */
  changed() {
    for (const w of [...this.watchers]) w();
  }
  watch(w: () => void): () => void {
    this.watchers.add(w);
    return () => this.watchers.delete(w);
  }
}

/** Renders the component again whenever the value changes. */
export function useValue<T>(value: Value<T>): T {
  const [, again] = useState(0);
  useEffect(() => {
    again((n) => n + 1);
    return value.watch(() => again((n) => n + 1));
  }, [value]);
  return value.get();
}

/** Calls load now and every so many milliseconds while the page is visible. */
export function usePoll(load: () => Promise<unknown>, every: number, deps: unknown[]) {
  useEffect(() => {
    let over = false;
    let busy = false;
    let timer = 0;
    const turn = async () => {
      if (busy) return;
      busy = true;
      clearTimeout(timer);
      if (!document.hidden) await load().catch(() => undefined);
      busy = false;
      if (!over) timer = window.setTimeout(turn, every);
    };
    const shown = () => {
      if (!document.hidden) void turn();
    };
    void turn();
    document.addEventListener("visibilitychange", shown);
    return () => {
      over = true;
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", shown);
    };
  }, deps);
}

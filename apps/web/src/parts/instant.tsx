import { instant } from '@lastgood/core/format';
import { useSyncExternalStore } from 'react';
import { ago, shortTime } from '../format/times.ts';

const listeners = new Set<() => void>();
let nowMs = Date.now();
let timer: ReturnType<typeof setInterval> | undefined;

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  timer ??= setInterval(() => {
    nowMs = Date.now();
    for (const each of listeners) each();
  }, 1_000);
  return () => {
    listeners.delete(listener);
    if (listeners.size > 0) return;
    clearInterval(timer);
    timer = undefined;
  };
}

/** The time of this machine, once a second. */
export const useNow = (): number => useSyncExternalStore(subscribe, () => nowMs);

/** An instant in the viewer's zone, with its offset; the whole of it on hover. */
export function Instant({ at }: { readonly at: number | string }) {
  return (
    <time dateTime={new Date(at).toISOString()} title={instant(at)} className="nowrap">
      {shortTime(at, useNow())}
    </time>
  );
}

/** How long ago an instant was; the instant itself on hover. */
export function Ago({ at }: { readonly at: number | string }) {
  return (
    <time dateTime={new Date(at).toISOString()} title={instant(at)} className="nowrap">
      {ago(at, useNow())}
    </time>
  );
}

const STEPS = ['B', 'kB', 'MB', 'GB', 'TB', 'PB'] as const;

/** Bytes in decimal units, three digits: `1.53 GB`. */
export function bytes(value: number): string {
  let rest = value;
  let step = 0;
  // From 999.5 on, three digits would read 1000.
  while (rest >= 999.5 && step < STEPS.length - 1) {
    rest /= 1000;
    step += 1;
  }
  const digits = step === 0 || rest >= 100 ? 0 : rest >= 9.995 ? 1 : 2;
  return `${rest.toFixed(digits)} ${STEPS[step]}`;
}

/** A span in its two largest units: `3 d 4 h`, `12 min 3 s`, `0.4 s`. */
export function duration(ms: number): string {
  if (ms < 10_000) return `${(ms / 1000).toFixed(1)} s`;
  const seconds = Math.round(ms / 1000);
  const parts: [number, string][] = [
    [Math.floor(seconds / 86_400), 'd'],
    [Math.floor((seconds % 86_400) / 3600), 'h'],
    [Math.floor((seconds % 3600) / 60), 'min'],
    [seconds % 60, 's'],
  ];
  const first = parts.findIndex(([amount]) => amount > 0);
  return parts
    .slice(first, first + 2)
    .filter(([amount]) => amount > 0)
    .map(([amount, unit]) => `${amount} ${unit}`)
    .join(' ');
}

/** An instant with its offset, in the zone of the reader. */
export function instant(at: number | string): string {
  const date = new Date(at);
  if (Number.isNaN(date.getTime())) return '-';
  const offset = -date.getTimezoneOffset();
  const local = new Date(date.getTime() + offset * 60_000).toISOString().slice(0, 19).replace('T', ' ');
  const two = (value: number): string => String(Math.floor(Math.abs(value))).padStart(2, '0');
  return `${local}${offset < 0 ? '-' : '+'}${two(offset / 60)}:${two(offset % 60)}`;
}

/** The same for tables: no seconds, and no minutes of the offset where there are none. */
export const shortInstant = (at: number | string): string =>
  instant(at).replace(/:\d\d([+-]\d\d)(?::00|(:\d\d))$/, '$1$2');

import { duration } from '@lastgood/core/format';

export const two = (value: number): string => String(Math.floor(Math.abs(value))).padStart(2, '0');

/** The offset of the viewer's zone at an instant: `+01:00`. */
export function offsetOf(at: Date): string {
  const minutes = -at.getTimezoneOffset();
  return `${minutes < 0 ? '−' : '+'}${two(minutes / 60)}:${two(minutes % 60)}`;
}

const isSameDay = (a: Date, b: Date): boolean => a.toDateString() === b.toDateString();
export const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];

/** An instant in the viewer's zone: `14:03:20 +01:00` today, `27 Nov 14:03 +01:00` earlier. */
export function shortTime(at: number | string, nowMs: number): string {
  const date = new Date(at);
  const clock = `${two(date.getHours())}:${two(date.getMinutes())}`;
  if (isSameDay(date, new Date(nowMs))) return `${clock}:${two(date.getSeconds())} ${offsetOf(date)}`;
  const year = date.getFullYear() === new Date(nowMs).getFullYear() ? '' : ` ${date.getFullYear()}`;
  return `${date.getDate()} ${MONTHS[date.getMonth()]}${year} ${clock} ${offsetOf(date)}`;
}

/** How long ago an instant was, in at most two units. */
export const ago = (at: number | string, nowMs: number): string => {
  const ms = nowMs - new Date(at).getTime();
  return ms < 1_000 ? 'just now' : `${duration(ms)} ago`;
};

import { bytes, duration } from '@lastgood/core/format';
import type { Detail } from '@lastgood/protocol';
import { Instant } from './instant.tsx';

/** The value of a row that an engine adds. */
export function DetailValue({ detail: { value, unit } }: { readonly detail: Detail }) {
  if (typeof value === 'string') return unit === 'instant' ? <Instant at={value} /> : value;
  if (unit === 'bytes') return bytes(value);
  return unit === 'milliseconds' ? duration(value) : value.toLocaleString('en');
}

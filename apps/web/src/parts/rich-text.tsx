import { Instant } from './instant.tsx';

const INSTANT = /(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z)/;

/** A part without code: instants are shown in the zone of the viewer. */
function Plain({ text }: { readonly text: string }) {
  return text.split(INSTANT).map((part, index) =>
    // The parts of one text never change places.
    // biome-ignore lint/suspicious/noArrayIndexKey: see above
    index % 2 === 1 ? <Instant key={index} at={part} /> : part,
  );
}

/** A text of the API: what stands between backticks is code. */
export function RichText({ text }: { readonly text: string }) {
  return text.split('`').map((part, index) =>
    // biome-ignore lint/suspicious/noArrayIndexKey: the parts of one text never change places
    index % 2 === 1 ? <code key={index}>{part}</code> : <Plain key={index} text={part} />,
  );
}

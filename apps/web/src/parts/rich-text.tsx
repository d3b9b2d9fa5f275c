/** A text of the API, with what stands between backticks as code. */
export function RichText({ text }: { readonly text: string }) {
  return text.split('`').map((part, index) =>
    // Every second part was between backticks. The parts of one text never change places.
    // biome-ignore lint/suspicious/noArrayIndexKey: see above
    index % 2 === 1 ? <code key={index}>{part}</code> : part,
  );
}

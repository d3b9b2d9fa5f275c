import type { ReactNode } from 'react';

/** A wide table scrolls in a region of its own, which the keyboard reaches as well. */
export function Scroll({ label, children }: { readonly label: string; readonly children: ReactNode }) {
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: without it the keyboard cannot scroll
    <section className="scroll" aria-label={label} tabIndex={0}>
      {children}
    </section>
  );
}

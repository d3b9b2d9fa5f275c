import { failureOf } from '../data/client.ts';
import { RichText } from './rich-text.tsx';

/** What failed and what to do about it. */
export function FailureNotice({ error, title }: { readonly error: unknown; readonly title: string }) {
  const { code, message, remedy } = failureOf(error);
  return (
    <section className="notice notice-bad" role="alert">
      <h2>{title}</h2>
      <p>
        {message} <code>{code}</code>
      </p>
      <p className="remedy">
        <RichText text={remedy} />
      </p>
    </section>
  );
}

export const Loading = ({ what }: { readonly what: string }) => (
  <p className="loading" role="status">
    Loading {what} …
  </p>
);

import { type ReactNode, useId, useState } from 'react';
import { ReasonedButton } from './job-button.tsx';

/** Consent by name: the button works only after the name was typed. With null no name is needed. */
export function Consent({
  name,
  obstacle,
  act,
  label,
  children,
}: {
  readonly name: string | null;
  /** Why it cannot be done at all; null when it can. */
  readonly obstacle: string | null;
  readonly act: () => void;
  readonly label: string;
  readonly children: ReactNode;
}) {
  const id = useId();
  const [typed, setTyped] = useState('');
  const reason = obstacle ?? (name === null || typed === name ? null : `Type “${name}” to enable this button.`);
  return (
    <div className="consent">
      <p>{children}</p>
      {name !== null && (
        <label htmlFor={id}>
          Type <code>{name}</code> to consent{' '}
          <input
            id={id}
            value={typed}
            autoComplete="off"
            spellCheck={false}
            onChange={({ target }) => setTyped(target.value)}
          />
        </label>
      )}
      <ReasonedButton reason={reason} onClick={act} className="primary">
        {label}
      </ReasonedButton>
      {reason !== null && <small className="muted">{reason}</small>}
    </div>
  );
}

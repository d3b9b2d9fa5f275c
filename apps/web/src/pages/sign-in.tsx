import { useNavigate } from '@tanstack/react-router';
import { type FormEvent, useEffect, useState } from 'react';
import type { ShownFailure } from '../data/client.ts';
import { signIn } from '../data/session.ts';
import { Logo } from '../parts/logo.tsx';

/** The code of a one-time link stands behind `#`, which no server and no log receives. */
const codeOfLink = (): string | null => /^#code=([\w-]{20,})$/.exec(location.hash)?.[1] ?? null;

/** Asks for a token, or signs in with the code of a one-time link. */
export function SignIn() {
  const navigate = useNavigate();
  const [failure, setFailure] = useState<ShownFailure | null>(null);
  const [isPending, setPending] = useState(false);

  const attempt = async (secret: Parameters<typeof signIn>[0]): Promise<void> => {
    setPending(true);
    const failed = await signIn(secret).catch(
      (): ShownFailure => ({
        code: 'CONTROL_UNREACHABLE',
        message: 'the control plane does not respond',
        remedy: 'Check that it is running, then try again.',
      }),
    );
    setPending(false);
    setFailure(failed);
    if (failed === null) await navigate({ to: '/', replace: true });
  };
  // biome-ignore lint/correctness/useExhaustiveDependencies: a code works once, so it is sent once
  useEffect(() => {
    const code = codeOfLink();
    if (code === null) return;
    history.replaceState(null, '', '/sign-in');
    void attempt({ code });
  }, []);

  const submit = (event: FormEvent<HTMLFormElement>): void => {
    event.preventDefault();
    void attempt({ token: String(new FormData(event.currentTarget).get('token')).trim() });
  };
  return (
    <main className="sign-in" id="main">
      <h1>
        <Logo /> Lastgood
      </h1>
      <form onSubmit={submit} className="panel">
        <label htmlFor="token">Access token</label>
        <input
          id="token"
          name="token"
          type="password"
          autoComplete="current-password"
          required
          aria-invalid={failure !== null}
          aria-describedby={failure === null ? 'token-help' : 'token-failure'}
        />
        {failure === null ? (
          <p id="token-help" className="muted">
            The first token is in <code>admin.token</code> in the data folder of the control plane. Create others with{' '}
            <code>lastgood tokens create</code>, or print a sign-in link with <code>lastgood dashboard</code>.
          </p>
        ) : (
          <p id="token-failure" role="alert" className="bad">
            Sign-in failed: {failure.message}. {failure.remedy}
          </p>
        )}
        <button type="submit" className="primary" disabled={isPending}>
          {isPending ? 'Signing in …' : 'Sign in'}
        </button>
      </form>
    </main>
  );
}

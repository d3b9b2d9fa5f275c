import { once } from 'node:events';
import { text } from 'node:stream/consumers';
import { Bug } from '@lastgood/core';
import { SMTPServer } from 'smtp-server';

export interface ReceivedMail {
  readonly from: string;
  readonly to: readonly string[];
  /** Headers and body as they came over the wire. */
  readonly raw: string;
  /** Whether it came over TLS. */
  readonly isSecure: boolean;
  /** Null when the sender did not log in. */
  readonly user: string | null;
}
export interface SmtpInboxOptions {
  /** Certificate and key in PEM. Without them the server offers no TLS. */
  readonly tls?: { readonly cert: string; readonly key: string };
  /** TLS from the first byte, instead of STARTTLS. */
  readonly implicitTls?: boolean;
  /** The only login that is accepted; without it none is asked for. */
  readonly login?: { readonly user: string; readonly password: string };
}

/** The value of a header, unfolded; undefined when the mail has none. */
export const headerOf = ({ raw }: ReceivedMail, name: string): string | undefined =>
  new RegExp(`^${name}: ((?:.|\\r\\n[ \\t])*)`, 'im')
    .exec(raw.split('\r\n\r\n')[0] ?? '')?.[1]
    ?.replace(/\r\n[ \t]/g, ' ');

/** A mail server on 127.0.0.1 that keeps what it receives and rejects on demand. */
export class SmtpInbox implements AsyncDisposable {
  readonly received: ReceivedMail[] = [];
  readonly #server: SMTPServer;
  readonly #rejections = new Map<'recipient' | 'data', number>();
  #attempts = 0;

  private constructor(options: SmtpInboxOptions) {
    const { tls, login, implicitTls = false } = options;
    this.#server = new SMTPServer({
      ...(tls === undefined
        ? { hideSTARTTLS: true, disabledCommands: login === undefined ? ['STARTTLS', 'AUTH'] : ['STARTTLS'] }
        : tls),
      secure: implicitTls,
      authOptional: login === undefined,
      allowInsecureAuth: tls === undefined,
      logger: false,
      onAuth: ({ username = '', password }, _session, callback) => {
        if (username === login?.user && password === login.password) return callback(null, { user: username });
        return callback(Object.assign(new Error('invalid login'), { responseCode: 535 }));
      },
      onRcptTo: (_address, _session, callback) => callback(this.#take('recipient')),
      onData: (stream, session, callback) => {
        this.#attempts += 1;
        text(stream).then((raw) => {
          const rejection = this.#take('data');
          if (rejection !== null) return callback(rejection);
          const { mailFrom, rcptTo } = session.envelope;
          this.received.push({
            from: mailFrom === false ? '' : mailFrom.address,
            to: rcptTo.map(({ address }) => address),
            raw,
            isSecure: session.secure,
            user: session.user === undefined ? null : String(session.user),
          });
          return callback();
        }, callback);
      },
    });
    // A client that ends the connection in the middle is part of the tests.
    this.#server.on('error', () => undefined);
  }
  static async open(options: SmtpInboxOptions = {}): Promise<SmtpInbox> {
    const inbox = new SmtpInbox(options);
    const listener = inbox.#server.listen(0, '127.0.0.1');
    await once(listener, 'listening');
    return inbox;
  }
  get port(): number {
    const address = this.#server.server.address();
    if (address === null || typeof address === 'string') throw new Bug('a TCP server without a port');
    return address.port;
  }
  /** Mails whose content arrived, accepted or not. */
  get attempts(): number {
    return this.#attempts;
  }
  /** Rejects the next mail with this SMTP code, at its recipient or after its content. */
  rejectNext(at: 'recipient' | 'data', responseCode: number): void {
    this.#rejections.set(at, responseCode);
  }
  async [Symbol.asyncDispose](): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#server.close(() => resolve());
    await promise;
  }

  #take(at: 'recipient' | 'data'): Error | null {
    const responseCode = this.#rejections.get(at);
    this.#rejections.delete(at);
    return responseCode === undefined ? null : Object.assign(new Error('rejected by the test'), { responseCode });
  }
}

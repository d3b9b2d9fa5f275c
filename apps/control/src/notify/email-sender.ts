import { connect, type Socket } from 'node:net';
import { Bug } from '@lastgood/core';
import { createTransport } from 'nodemailer';
import type { SmtpConfig } from './notify-config.ts';
import { readNamedFile, readSecretLines } from './secret-file.ts';
import type { OutgoingMessage, Sender, SendResult } from './sender.ts';

const ANSWER_MS = 30_000;
/** From the connection to the last reply. */
const WHOLE_MS = 90_000;

/** Where the server rejected the message itself. A rejected login or a server without TLS is corrected by the operator: try again. */
const MESSAGE_CODES = new Set(['EENVELOPE', 'EMESSAGE']);

/** What a failed try means: a 5xx reply to the message is final, every other failure may pass (RFC 5321). */
export function classifySmtpError(error: unknown): SendResult {
  const { code, responseCode } = Object(error) as { code?: unknown; responseCode?: unknown };
  const reply = typeof responseCode === 'number' ? responseCode : null;
  const cause = reply !== null ? `SMTP_${reply}` : typeof code === 'string' ? code : 'UNKNOWN';
  if (MESSAGE_CODES.has(String(code)) && (reply === null || reply >= 500)) return { outcome: 'rejected', cause };
  return { outcome: 'retry', cause, retryAfterMs: null };
}

type SocketCallback = (error: Error | null, options?: { connection: Socket }) => void;

/** Connects, and destroys the connection when the signal says so. The callback is called once. */
function openSocket(host: string, port: number, stop: AbortSignal, callback: SocketCallback): void {
  const socket = connect({ host, port });
  // With an error, so that the callback is called when there is no connection yet.
  const abort = (): void => void socket.destroy(new Bug('the delivery was stopped'));
  stop.addEventListener('abort', abort, { once: true });
  socket.once('close', () => stop.removeEventListener('abort', abort));
  // nodemailer listens only as long as it uses the socket.
  socket.on('error', () => undefined);
  socket.once('error', callback);
  socket.once('connect', () => {
    socket.off('error', callback);
    callback(null, { connection: socket });
  });
}

/** Sends to one address. A connection per message: alerts are rare, and a broken connection costs nothing. */
export class EmailSender implements Sender {
  readonly #config: SmtpConfig;
  readonly #to: string;

  constructor(config: SmtpConfig, to: string) {
    this.#config = config;
    this.#to = to;
  }
  async send(message: OutgoingMessage, signal: AbortSignal): Promise<SendResult> {
    const { host, port, tls, caFile, user, passwordFile } = this.#config;
    const pass = passwordFile === undefined ? undefined : (await readSecretLines(passwordFile))[0];
    const ca = caFile === undefined ? undefined : await readNamedFile(caFile);
    const stop = AbortSignal.any([signal, AbortSignal.timeout(WHOLE_MS)]);
    const transport = createTransport({
      host,
      port,
      secure: tls === 'implicit',
      requireTLS: tls === 'starttls',
      ignoreTLS: tls === 'none',
      tls: { minVersion: 'TLSv1.2', ...(ca === undefined ? {} : { ca }) },
      ...(user === undefined || pass === undefined ? {} : { auth: { user, pass } }),
      greetingTimeout: ANSWER_MS,
      socketTimeout: ANSWER_MS,
      disableFileAccess: true,
      disableUrlAccess: true,
      // nodemailer cannot be aborted, but a socket of our own can be destroyed.
      getSocket: (_options, callback) => openSocket(host, port, stop, callback),
    });
    try {
      await transport.sendMail(this.#compose(message));
      return { outcome: 'sent' };
    } catch (error) {
      return stop.aborted ? { outcome: 'retry', cause: 'ETIMEDOUT', retryAfterMs: null } : classifySmtpError(error);
    } finally {
      transport.close();
    }
  }

  #compose({
    messageId,
    threadId,
    subject,
    text,
    html,
  }: OutgoingMessage): Parameters<ReturnType<typeof createTransport>['sendMail']>[0] {
    const domain = this.#config.from.split('@')[1] ?? 'localhost';
    const id = (of: string): string => `<${of}@${domain}>`;
    return {
      from: { name: 'Lastgood', address: this.#config.from },
      to: this.#to,
      subject,
      text,
      html,
      messageId: id(messageId),
      // Mail programs show a resolved alert below the one that fired.
      ...(threadId === messageId ? {} : { inReplyTo: id(threadId), references: [id(threadId)] }),
      // No vacation notice answers an alert (RFC 3834).
      headers: { 'Auto-Submitted': 'auto-generated' },
    };
  }
}

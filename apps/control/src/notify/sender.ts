/** A message as it is sent, rendered once when it is put into the outbox. */
export interface OutgoingMessage {
  /** The same for every try, so that receivers recognize a message that arrives twice. */
  readonly messageId: string;
  /** The message that this one is a reply to; itself for the first. */
  readonly threadId: string;
  readonly subject: string;
  readonly text: string;
  readonly html: string;
  /** For programs: what a webhook posts. */
  readonly payload: Readonly<Record<string, unknown>>;
}

/** `retry`: try again later · `rejected`: the receiver will never take it. `cause` is a code, never a text of the other side. */
export type SendResult =
  | { readonly outcome: 'sent' }
  | { readonly outcome: 'retry'; readonly cause: string; readonly retryAfterMs: number | null }
  | { readonly outcome: 'rejected'; readonly cause: string };

/** Delivers messages to one kind of destination. Never throws for what the other side does; one try per call. */
export interface Sender {
  send(message: OutgoingMessage, signal: AbortSignal): Promise<SendResult>;
}

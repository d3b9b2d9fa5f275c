/** A running job about which its agent reports nothing for this long counts as lost. */
export const LEASE_MS = 90_000;
export const HEARTBEAT_MS = 15_000;
/** How long a grant lasts, from the moment the agent asked for it. */
export const GRANT_MS = 30_000;

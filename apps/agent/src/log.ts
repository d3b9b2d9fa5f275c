/** Where the agent tells what it does; one JSON line each in production (pino). */
export interface Log {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

import type { Server } from 'node:http';
import type { Socket } from 'node:net';

/** Every connection to the control plane, and which of them nobody has vouched for yet. */
export class Connections {
  readonly #all = new Set<Socket>();
  /** In the order in which they came. */
  readonly #unauthenticated = new Set<Socket>();
  readonly #maxStrangers: number;

  constructor(server: Server, maxStrangers: number) {
    this.#maxStrangers = maxStrangers;
    server.on('connection', (socket) => this.#arrived(socket));
  }

  /** Descriptors are few, so unauthenticated are as well. The oldest goes: who means well has said who it is by then. */
  #arrived(socket: Socket): void {
    this.#all.add(socket);
    this.#unauthenticated.add(socket);
    socket.once('close', () => {
      this.#all.delete(socket);
      this.#unauthenticated.delete(socket);
    });
    const [oldest] = this.#unauthenticated;
    if (this.#unauthenticated.size > this.#maxStrangers) oldest?.destroy();
  }

  /** A token or a signature was accepted on this connection. */
  markAuthenticated(socket: object): void {
    this.#unauthenticated.delete(socket as Socket);
  }

  /** Ends all at once. The server knows nothing any more of a connection that asked for an upgrade, so it cannot. */
  destroy(): void {
    for (const socket of this.#all) socket.destroy();
  }
}

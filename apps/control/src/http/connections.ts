import type { Server } from 'node:http';
import type { Socket } from 'node:net';

/** Every connection to the control plane, and which of them nobody has vouched for yet. */
export class Connections {
  readonly #all = new Set<Socket>();
  /** In the order in which they came. */
  readonly #strangers = new Set<Socket>();
  readonly #maxStrangers: number;

  constructor(server: Server, maxStrangers: number) {
    this.#maxStrangers = maxStrangers;
    server.on('connection', (socket) => this.#arrived(socket));
  }

  /** Descriptors are few, so strangers are as well. The oldest goes: who means well has said who it is by then. */
  #arrived(socket: Socket): void {
    this.#all.add(socket);
    this.#strangers.add(socket);
    socket.once('close', () => {
      this.#all.delete(socket);
      this.#strangers.delete(socket);
    });
    const [oldest] = this.#strangers;
    if (this.#strangers.size > this.#maxStrangers) oldest?.destroy();
  }

  /** Whoever speaks on this connection has shown a token or a signature. */
  known(socket: object): void {
    this.#strangers.delete(socket as Socket);
  }

  /** Ends all at once. The server knows nothing any more of a connection that asked for an upgrade, so it cannot. */
  destroy(): void {
    for (const socket of this.#all) socket.destroy();
  }
}

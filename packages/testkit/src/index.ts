export * from './free-port.ts';
export * from './postgres-server.ts';
export * from './seed-shop.ts';
export * from './temporary-folder.ts';

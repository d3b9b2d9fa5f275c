export * from './free-port.ts';
export * from './lying-tool.ts';
export * from './postgres-server.ts';
export * from './power-cut-disk.ts';
export * from './seed-shop.ts';
export * from './small-file-system.ts';
export * from './tcp-fault-proxy.ts';
export * from './temporary-folder.ts';

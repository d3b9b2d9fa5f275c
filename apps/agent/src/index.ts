export { type Agent, type AgentOptions, startAgent } from './agent.ts';
export { agentConfigJsonSchema, readAgentConfig } from './config/agent-config.ts';
export { enroll } from './config/identity.ts';

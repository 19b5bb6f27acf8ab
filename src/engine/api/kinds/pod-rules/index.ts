/** What a Pod's spec must keep to beyond its schema, wherever it stands: in Pods, and as a blueprint in Sandboxes and templates. */
export { podSpecErrors, podTemplateErrors } from './pod-spec.ts';

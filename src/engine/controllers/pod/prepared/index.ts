/** Containers that are made before their Pods are there, so that a wake is faster. */
export {
  createPreparedContainers,
  type Prepared,
  type PreparedContainers,
  type PreparedLimits,
} from './prepared-containers.ts';
export { shapeOf } from './shape.ts';

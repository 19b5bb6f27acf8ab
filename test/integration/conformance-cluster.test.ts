import { missingTool } from '../support/tools.ts';
import { conformance } from './conformance.ts';
import { clusterWorld } from './world.ts';

conformance('a real API server', clusterWorld, missingTool('etcd', 'kube-apiserver'));

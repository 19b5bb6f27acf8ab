import { missingTool } from '../support/tools.ts';
import { claims } from './claims.ts';
import { clusterClaimsWorld } from './claims-world.ts';

claims('a real API server', clusterClaimsWorld, missingTool('etcd', 'kube-apiserver'));

import { claims } from './claims.ts';
import { engineClaimsWorld } from './claims-world.ts';

claims('the engine', engineClaimsWorld, false);

import { missingTool } from '../support/tools.ts';
import { conformance } from './conformance.ts';
import { engineWorld } from './world.ts';

conformance('the engine, with gVisor', engineWorld, missingTool('runsc'));

import { expect, test } from 'vitest';
import { rememberCoordinators } from './kafkajs-coordinators.js';

const transaction = { groupId: 'a', coordinatorType: 1 };
const group = { groupId: 'a', coordinatorType: 0 };

/** A cluster whose coordinator is the broker `nodeId`, and counts how often it is asked for. */
function makeCluster() {
  const cluster = {
    nodeId: 1,
    isReachable: true,
    asked: 0,
    now: 0,
    refreshMetadataIfNecessary: () => Promise.resolve(),
    findControllerBroker: () => Promise.resolve({ nodeId: 1 }),
    findGroupCoordinator: () => {
      cluster.asked++;
      return Promise.resolve({ nodeId: cluster.nodeId });
    },
    findBroker: ({ nodeId }: { nodeId: number }) =>
      cluster.isReachable ? Promise.resolve({ nodeId }) : Promise.reject(new Error('ECONNREFUSED')),
  };
  return { cluster, find: rememberCoordinators(cluster, () => cluster.now).findGroupCoordinator };
}

test('a coordinator is asked for once a second', async () => {
  const { cluster, find } = makeCluster();
  for (cluster.now = 0; cluster.now < 1_000; cluster.now += 100)
    expect(await find(transaction)).toEqual({ nodeId: 1 });
  expect(cluster.asked).toBe(1);
  cluster.nodeId = 2;
  expect(await find(transaction)).toEqual({ nodeId: 2 });
});

test('those of a transaction and of a group with the same name are two', async () => {
  const { cluster, find } = makeCluster();
  await find(transaction);
  cluster.nodeId = 2;
  expect(await find(group)).toEqual({ nodeId: 2 });
  expect(await find(transaction)).toEqual({ nodeId: 1 });
});

test('an unreachable coordinator is asked for at once', async () => {
  const { cluster, find } = makeCluster();
  await find(transaction);
  [cluster.nodeId, cluster.isReachable] = [2, false];
  expect(await find(transaction)).toEqual({ nodeId: 2 });
});

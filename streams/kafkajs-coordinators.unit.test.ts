import { expect, test } from 'vitest';
import { patientCoordinators } from './kafkajs-coordinators.js';

const transaction = { groupId: 'a', coordinatorType: 1 };
const group = { groupId: 'a', coordinatorType: 0 };

/** A cluster whose coordinator is the broker `nodeId`, and counts how often it is asked for. */
function makeCluster() {
  const makeBroker = (nodeId: number) => {
    const send = () =>
      cluster.refusal === undefined
        ? Promise.resolve(`broker ${nodeId}`)
        : Promise.reject(Object.assign(new Error('refused'), cluster.refusal(nodeId)));
    return {
      nodeId,
      addPartitionsToTxn: send,
      addOffsetsToTxn: send,
      txnOffsetCommit: send,
      endTxn: send,
      offsetFetch: send,
    };
  };
  const cluster = {
    nodeId: 1,
    isReachable: true,
    isConnected: () => cluster.isReachable,
    asked: 0,
    now: 0,
    refusal: undefined as ((nodeId: number) => { type: string }) | undefined,
    refreshMetadataIfNecessary: () => Promise.resolve(),
    findControllerBroker: () => Promise.resolve({ nodeId: 1 }),
    findGroupCoordinator: () => {
      cluster.asked++;
      return Promise.resolve(makeBroker(cluster.nodeId));
    },
    findBroker: ({ nodeId }: { nodeId: number }) =>
      cluster.isReachable ? Promise.resolve(makeBroker(nodeId)) : Promise.reject(new Error('ECONNREFUSED')),
  };
  return { cluster, find: patientCoordinators(cluster, () => cluster.now).findGroupCoordinator };
}

test('a coordinator is asked for once a second', async () => {
  const { cluster, find } = makeCluster();
  for (cluster.now = 0; cluster.now < 1_000; cluster.now += 100)
    expect(await find(transaction)).toMatchObject({ nodeId: 1 });
  expect(cluster.asked).toBe(1);
  cluster.nodeId = 2;
  expect(await find(transaction)).toMatchObject({ nodeId: 2 });
});

test('those of a transaction and of a group with the same name are two', async () => {
  const { cluster, find } = makeCluster();
  await find(transaction);
  cluster.nodeId = 2;
  expect(await find(group)).toMatchObject({ nodeId: 2 });
  expect(await find(transaction)).toMatchObject({ nodeId: 1 });
});

test('an unreachable coordinator is asked for at once', async () => {
  const { cluster, find } = makeCluster();
  await find(transaction);
  [cluster.nodeId, cluster.isReachable] = [2, false];
  expect(await find(transaction)).toMatchObject({ nodeId: 2 });
});

test('a request goes to the broker that has become the coordinator', async () => {
  const { cluster, find } = makeCluster();
  const coordinator = await find(transaction);
  cluster.refusal = () => {
    cluster.nodeId = 2;
    cluster.refusal = undefined;
    return { type: 'NOT_COORDINATOR_FOR_GROUP' };
  };
  expect(await coordinator.endTxn({})).toBe('broker 2');
});

test('a request that waits ends when its producer is closed', async () => {
  const { cluster, find } = makeCluster();
  const coordinator = await find(transaction);
  cluster.refusal = () => {
    cluster.isReachable = false;
    cluster.refusal = undefined;
    return { type: 'GROUP_LOAD_IN_PROGRESS' };
  };
  await expect(coordinator.endTxn({})).rejects.toMatchObject({ type: 'GROUP_LOAD_IN_PROGRESS' });
});

test('a refusal that lasts ends the waiting, and another one begins none', async () => {
  const { cluster, find } = makeCluster();
  const coordinator = await find(transaction);
  let refused = 0;
  cluster.refusal = () => {
    cluster.now += ++refused * 2_000;
    return { type: 'CONCURRENT_TRANSACTIONS' };
  };
  await expect(coordinator.endTxn({})).rejects.toMatchObject({ type: 'CONCURRENT_TRANSACTIONS' });
  expect(refused).toBe(2);
  cluster.refusal = () => ({ type: 'PRODUCER_FENCED', refused: refused++ });
  await expect(coordinator.endTxn({})).rejects.toMatchObject({ type: 'PRODUCER_FENCED' });
  expect(refused).toBe(3);
});

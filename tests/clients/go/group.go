package main

import (
	"context"
	"strconv"
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"
)

// group reads with one member, adds a second (cooperative rebalance), reads with both, and continues after a restart.
func group(ctx context.Context, brokers, topic string) (result, error) {
	counts := make(map[string]int)
	producer, err := open(brokers, kgo.RecordPartitioner(kgo.RoundRobinPartitioner()))
	if err != nil {
		return nil, err
	}
	defer producer.Close()
	if err := producer.ProduceSync(ctx, numbered(topic, 0, 100)...).FirstErr(); err != nil {
		return nil, err
	}

	member := func(assigned func(map[string][]int32)) (*kgo.Client, error) {
		return open(brokers, kgo.ConsumeTopics(topic), kgo.ConsumerGroup(topic+"-group"), kgo.DisableAutoCommit(),
			kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.Balancers(kgo.CooperativeStickyBalancer()),
			kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, now map[string][]int32) { assigned(now) }))
	}
	read := func(client *kgo.Client, count int) error {
		got, err := take(ctx, count, client.PollFetches)
		for _, record := range got {
			counts[string(record.Value)]++
		}
		if err != nil {
			return err
		}
		return client.CommitUncommittedOffsets(ctx)
	}

	alone, err := member(func(map[string][]int32) {})
	if err != nil {
		return nil, err
	}
	defer alone.Close()
	if err := read(alone, 100); err != nil {
		return nil, err
	}

	// The first member must poll for the group to settle: partitions are revoked before others get them.
	joined := make(chan int, 10)
	second, err := member(func(now map[string][]int32) { joined <- len(now[topic]) })
	if err != nil {
		return nil, err
	}
	defer second.Close()
	shared, err := waitFor(ctx, joined, alone, second)
	if err != nil {
		return nil, err
	}
	if err := producer.ProduceSync(ctx, numbered(topic, 100, 200)...).FirstErr(); err != nil {
		return nil, err
	}
	// Round robin over four partitions, two for each member.
	if err := first(read(alone, 50), read(second, 50)); err != nil {
		return nil, err
	}
	second.Close()
	alone.Close()

	restarted, err := member(func(map[string][]int32) {})
	if err != nil {
		return nil, err
	}
	defer restarted.Close()
	if err := producer.ProduceSync(ctx, numbered(topic, 200, 220)...).FirstErr(); err != nil {
		return nil, err
	}
	if err := read(restarted, 20); err != nil {
		return nil, err
	}
	once := 0
	for number := range 220 {
		if counts[strconv.Itoa(number)] == 1 {
			once++
		}
	}
	return result{"readOnce": once, "sharedPartitions": shared}, nil
}

// waitFor polls both members, which are at the end of the log, until the second one has partitions.
func waitFor(ctx context.Context, joined <-chan int, members ...*kgo.Client) (int, error) {
	var polling sync.WaitGroup
	defer polling.Wait()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	for _, member := range members {
		polling.Go(func() {
			for ctx.Err() == nil {
				member.PollFetches(ctx)
			}
		})
	}
	for {
		select {
		case partitions := <-joined:
			if partitions > 0 {
				return partitions, nil
			}
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

package main

import (
	"context"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// transactions copies <topic> to <topic>-copy in a GroupTransactSession: once aborted, then committed.
func transactions(ctx context.Context, brokers, topic string) (result, error) {
	producer, err := open(brokers)
	if err != nil {
		return nil, err
	}
	defer producer.Close()
	if err := producer.ProduceSync(ctx, numbered(topic, 0, 20)...).FirstErr(); err != nil {
		return nil, err
	}
	session, err := kgo.NewGroupTransactSession(append(common(brokers),
		kgo.TransactionalID(topic+"-copy"), kgo.ConsumeTopics(topic), kgo.ConsumerGroup(topic+"-group"),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.RequireStableFetchOffsets(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))...)
	if err != nil {
		return nil, err
	}
	defer session.Close()
	adm := kadm.NewClient(producer)
	seen := result{}
	for _, ending := range []struct {
		name   string
		commit kgo.TransactionEndTry
	}{{"abort", kgo.TryAbort}, {"commit", kgo.TryCommit}} {
		if err := session.Begin(); err != nil {
			return nil, err
		}
		got, err := take(ctx, 20, session.PollFetches)
		if err != nil {
			return nil, err
		}
		for _, record := range got {
			session.Produce(ctx, &kgo.Record{Topic: topic + "-copy", Value: []byte(ending.name + " " + string(record.Value))}, nil)
		}
		committed, err := session.End(ctx, ending.commit)
		if err != nil {
			return nil, err
		}
		offsets, err := adm.FetchOffsets(ctx, topic+"-group")
		if err != nil {
			return nil, err
		}
		next := int64(0)
		offsets.KeepFunc(func(one kadm.OffsetResponse) bool { return one.At > 0 })
		offsets.Each(func(one kadm.OffsetResponse) { next += one.At })
		seen[ending.name] = result{"committed": committed, "offset": next}
	}
	reader, err := open(brokers, kgo.ConsumeTopics(topic+"-copy"), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		return nil, err
	}
	defer reader.Close()
	got, err := take(ctx, 20, reader.PollFetches)
	if err != nil {
		return nil, err
	}
	seen["copied"] = len(got)
	seen["first"] = string(got[0].Value)
	return seen, nil
}

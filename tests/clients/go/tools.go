package main

import (
	"context"
	"errors"
	"slices"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// tools sends the requests of rpk and Redpanda Console, which use this library, beyond the scenario admin.
func tools(ctx context.Context, brokers, topic string) (result, error) {
	client, err := open(brokers)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	adm := kadm.NewClient(client)
	seen := result{}

	codec := "zstd"
	created, err := adm.CreateTopic(ctx, 2, 1, map[string]*string{"compression.type": &codec}, topic)
	if err != nil {
		return nil, err
	}
	answered := ""
	if config, ok := created.Configs["compression.type"]; ok {
		answered = config.MaybeValue()
	}
	seen["created"] = []any{created.NumPartitions, created.ReplicationFactor, answered}

	group := topic + "-group"
	member, err := open(brokers, kgo.ConsumeTopics(topic), kgo.ConsumerGroup(group), kgo.DisableAutoCommit(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		return nil, err
	}
	defer member.Close()
	record := numbered(topic, 0, 1)[0]
	if err := client.ProduceSync(ctx, record).FirstErr(); err != nil {
		return nil, err
	}
	if _, err := take(ctx, 1, member.PollFetches); err != nil {
		return nil, err
	}
	if seen["listed"], err = listed(ctx, adm, group); err != nil {
		return nil, err
	}
	if seen["offsetDelete"], err = deletions(ctx, adm, group, topic); err != nil {
		return nil, err
	}

	dirs, err := adm.DescribeAllLogDirs(ctx, nil)
	if err != nil {
		return nil, err
	}
	var size int64
	dirs.Each(func(dir kadm.DescribedLogDir) {
		for _, partition := range dir.Topics[topic] {
			size += partition.Size
		}
		seen["diskIsKnown"] = dir.TotalBytes > dir.UsableBytes && dir.UsableBytes > 0
	})
	seen["hasSize"] = size > 50 && size < 200

	var asked kadm.OffsetForLeaderEpochRequest
	asked.Add(topic, record.Partition, 0)
	ends, err := adm.OffsetForLeaderEpoch(ctx, asked)
	if err != nil {
		return nil, err
	}
	seen["endOfEpoch"] = ends[topic][record.Partition].EndOffset

	if seen["accessLists"], err = accessLists(ctx, adm, topic); err != nil {
		return nil, err
	}
	return seen, nil
}

// listed returns the states whose lists contain a group.
func listed(ctx context.Context, adm *kadm.Client, group string) ([]string, error) {
	in := []string{}
	for _, state := range []string{"Stable", "Empty", "stable"} {
		groups, err := adm.ListGroups(ctx, state)
		if err != nil {
			return nil, err
		}
		if found, ok := groups[group]; ok {
			in = append(in, state+": "+found.State)
		}
	}
	return in, nil
}

// deletions returns the result of deleting offsets of a topic that a member reads, and of a missing partition.
func deletions(ctx context.Context, adm *kadm.Client, group, topic string) ([]string, error) {
	topics := kadm.TopicsSet{}
	topics.Add(topic, 0, 9)
	answers, err := adm.DeleteOffsets(ctx, group, topics)
	if err != nil {
		return nil, err
	}
	return []string{nameOf(answers[topic][0]), nameOf(answers[topic][9])}, nil
}

func accessLists(ctx context.Context, adm *kadm.Client, topic string) ([]string, error) {
	list := kadm.NewACLs().Topics(topic).Allow("User:nobody").AllowHosts("*").Operations(kadm.OpRead).
		ResourcePatternType(kadm.ACLPatternLiteral)
	described, err := adm.DescribeACLs(ctx, list)
	if err != nil {
		return nil, err
	}
	made, err := adm.CreateACLs(ctx, list)
	if err != nil {
		return nil, err
	}
	deleted, err := adm.DeleteACLs(ctx, list)
	if err != nil {
		return nil, err
	}
	names := []string{nameOf(described[0].Err), nameOf(made[0].Err), nameOf(deleted[0].Err)}
	return slices.Compact(names), nil
}

func nameOf(err error) string {
	var known *kerr.Error
	if errors.As(err, &known) {
		return known.Message
	}
	if err == nil {
		return ""
	}
	return err.Error()
}

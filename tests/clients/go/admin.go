package main

import (
	"context"

	"github.com/twmb/franz-go/pkg/kadm"
)

// admin runs kadm's operations on a topic and a group.
func admin(ctx context.Context, brokers, topic string) (result, error) {
	client, err := open(brokers)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	adm := kadm.NewClient(client)
	seen := result{}

	retention, week := "60000", "604800000"
	if _, err := adm.CreateTopic(ctx, -1, -1, map[string]*string{"retention.ms": &retention}, topic); err != nil {
		return nil, err
	}
	grown, err := adm.CreatePartitions(ctx, 2, topic)
	if err == nil {
		err = grown.Error()
	}
	if err != nil {
		return nil, err
	}
	listed, err := adm.ListTopics(ctx, topic)
	if err != nil {
		return nil, err
	}
	seen["partitions"] = len(listed[topic].Partitions)

	if seen["retention"], err = setting(ctx, adm, topic, "retention.ms"); err != nil {
		return nil, err
	}
	altered, err := adm.AlterTopicConfigs(ctx, []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "retention.ms", Value: &week}}, topic)
	if err != nil {
		return nil, err
	}
	if _, err := altered.On(topic, func(one *kadm.AlterConfigsResponse) error { return one.Err }); err != nil {
		return nil, err
	}
	if seen["alteredRetention"], err = setting(ctx, adm, topic, "retention.ms"); err != nil {
		return nil, err
	}

	for _, record := range numbered(topic, 0, 10) {
		record.Partition = 1
		if err := client.ProduceSync(ctx, record).FirstErr(); err != nil {
			return nil, err
		}
	}
	if err := groupOffsets(ctx, adm, topic, seen); err != nil {
		return nil, err
	}
	trim := kadm.Offsets{}
	ends, err := adm.ListEndOffsets(ctx, topic)
	if err != nil {
		return nil, err
	}
	total := int64(0)
	ends.Each(func(end kadm.ListedOffset) {
		total += end.Offset
		trim.AddOffset(topic, end.Partition, end.Offset, -1)
	})
	seen["records"] = total
	if trimmed, err := adm.DeleteRecords(ctx, trim); err != nil || trimmed.Error() != nil {
		return nil, first(err, trimmed.Error())
	}
	starts, err := adm.ListStartOffsets(ctx, topic)
	if err != nil {
		return nil, err
	}
	kept := total
	starts.Each(func(start kadm.ListedOffset) { kept -= start.Offset })
	seen["recordsAfterTrim"] = kept

	if _, err := adm.DeleteTopic(ctx, topic); err != nil {
		return nil, err
	}
	left, err := adm.ListTopics(ctx)
	seen["deleted"] = !left.Has(topic)
	return seen, err
}

// groupOffsets commits, reads, and deletes the offsets of a group without members, and the group.
func groupOffsets(ctx context.Context, adm *kadm.Client, topic string, seen result) error {
	group := topic + "-admin-group"
	commit := kadm.Offsets{}
	commit.AddOffset(topic, 0, 0, -1)
	commit.AddOffset(topic, 1, 0, -1)
	commit.AddOffset(topic, 2, 0, -1)
	if err := adm.CommitAllOffsets(ctx, group, commit); err != nil {
		return err
	}
	lags, err := adm.Lag(ctx, group)
	if err == nil {
		err = lags.Error()
	}
	if err != nil {
		return err
	}
	seen["lag"], seen["state"] = lags[group].Lag.Total(), lags[group].State
	topics := kadm.TopicsSet{}
	topics.Add(topic, 1)
	if deleted, err := adm.DeleteOffsets(ctx, group, topics); err != nil || deleted.Error() != nil {
		return first(err, deleted.Error())
	}
	offsets, err := adm.FetchOffsets(ctx, group)
	if err != nil {
		return err
	}
	_, has := offsets.Lookup(topic, 1)
	seen["offsetDeleted"] = !has
	if _, err := adm.DeleteGroup(ctx, group); err != nil {
		return err
	}
	groups, err := adm.ListGroups(ctx)
	_, has = groups[group]
	seen["groupDeleted"] = !has
	return err
}

func setting(ctx context.Context, adm *kadm.Client, topic, name string) (string, error) {
	described, err := adm.DescribeTopicConfigs(ctx, topic)
	if err != nil {
		return "", err
	}
	resource, err := described.On(topic, nil)
	if err != nil {
		return "", err
	}
	for _, config := range resource.Configs {
		if config.Key == name {
			return config.MaybeValue(), resource.Err
		}
	}
	return "", resource.Err
}

func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// grammar asks every API in every version that the broker and kmsg have in common, and checks that kmsg, which is
// generated from Kafka's own message definitions, reads the answer and writes the same bytes again.
func grammar(ctx context.Context, brokers, topic string) (result, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", brokers)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		conn.SetDeadline(deadline)
	}
	wire := &exchange{conn: conn}
	answer, err := wire.ask(kmsg.NewPtrApiVersionsRequest(), 0)
	if err != nil {
		return nil, err
	}
	client, err := open(brokers)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	if err := client.ProduceSync(ctx, numbered(topic, 0, 3)...).FirstErr(); err != nil {
		return nil, err
	}

	checked := result{}
	for _, served := range answer.(*kmsg.ApiVersionsResponse).ApiKeys {
		question, ok := questions[served.ApiKey]
		if !ok {
			continue
		}
		versions := 0
		for version := served.MinVersion; version <= served.MaxVersion; version++ {
			if version > kmsg.RequestForKey(served.ApiKey).MaxVersion() {
				break
			}
			// Produce 0 to 2 are advertised for librdkafka only, AddPartitionsToTxn 4 is for brokers.
			if served.ApiKey == 0 && version < 3 || served.ApiKey == 24 && version > 3 {
				continue
			}
			name := fmt.Sprintf("%s-%d-%d", topic, served.ApiKey, version)
			if err := question(wire, topic, name, version); err != nil {
				return nil, fmt.Errorf("%s version %d: %w", kmsg.NameForKey(served.ApiKey), version, err)
			}
			versions++
		}
		checked[kmsg.NameForKey(served.ApiKey)] = versions
	}
	return checked, nil
}

type exchange struct {
	conn          net.Conn
	correlationID int32
}

// ask sends a request in one version, and returns the decoded answer if every byte of it was read.
func (e *exchange) ask(req kmsg.Request, version int16) (kmsg.Response, error) {
	e.correlationID++
	req.SetVersion(version)
	frame := kmsg.NewRequestFormatter().AppendRequest(nil, req, e.correlationID)
	if _, err := e.conn.Write(frame); err != nil {
		return nil, err
	}
	var length [4]byte
	if _, err := io.ReadFull(e.conn, length[:]); err != nil {
		return nil, err
	}
	body := make([]byte, binary.BigEndian.Uint32(length[:]))
	if _, err := io.ReadFull(e.conn, body); err != nil {
		return nil, err
	}
	if got := int32(binary.BigEndian.Uint32(body)); got != e.correlationID {
		return nil, fmt.Errorf("answer %d to request %d", got, e.correlationID)
	}
	body = body[4:]
	// ApiVersions is answered with the oldest header.
	if req.IsFlexible() && req.Key() != 18 {
		if body[0] != 0 {
			return nil, fmt.Errorf("its header has %d tagged fields", body[0])
		}
		body = body[1:]
	}
	resp := req.ResponseKind()
	if err := resp.ReadFrom(bytes.Clone(body)); err != nil {
		return nil, fmt.Errorf("%w: % x", err, body)
	}
	if again := resp.AppendTo(nil); !bytes.Equal(again, body) {
		return nil, fmt.Errorf("read %+v from % x, which is written % x", resp, body, again)
	}
	return resp, nil
}

type question = func(e *exchange, topic, name string, version int16) error

// only sends one request, and checks only its grammar.
func only(make func(topic, name string) kmsg.Request) question {
	return func(e *exchange, topic, name string, version int16) error {
		_, err := e.ask(make(topic, name), version)
		return err
	}
}

// questions has for each API a request whose answer is not empty.
var questions = map[int16]question{
	0: only(func(topic, _ string) kmsg.Request {
		req := kmsg.NewPtrProduceRequest()
		req.Acks, req.TimeoutMillis = -1, 10_000
		req.Topics = []kmsg.ProduceRequestTopic{{Topic: topic, Partitions: []kmsg.ProduceRequestTopicPartition{{Partition: 9}}}}
		return req
	}),
	1: only(func(topic, _ string) kmsg.Request {
		req := kmsg.NewPtrFetchRequest()
		req.MaxBytes, req.SessionEpoch, req.IsolationLevel = 1<<20, -1, 1
		partition := kmsg.NewFetchRequestTopicPartition()
		partition.PartitionMaxBytes = 1 << 20
		asked := kmsg.NewFetchRequestTopic()
		asked.Topic, asked.Partitions = topic, []kmsg.FetchRequestTopicPartition{partition}
		req.Topics = []kmsg.FetchRequestTopic{asked}
		return req
	}),
	2: only(func(topic, _ string) kmsg.Request {
		req := kmsg.NewPtrListOffsetsRequest()
		partition := kmsg.NewListOffsetsRequestTopicPartition()
		partition.Timestamp = -1
		req.Topics = []kmsg.ListOffsetsRequestTopic{{Topic: topic, Partitions: []kmsg.ListOffsetsRequestTopicPartition{partition}}}
		return req
	}),
	3: only(func(topic, _ string) kmsg.Request {
		req := kmsg.NewPtrMetadataRequest()
		for _, each := range []string{topic, topic + "-missing"} {
			asked := kmsg.NewMetadataRequestTopic()
			asked.Topic = kmsg.StringPtr(each)
			req.Topics = append(req.Topics, asked)
		}
		return req
	}),
	8: only(commit),
	9: func(e *exchange, topic, name string, version int16) error {
		if _, err := e.ask(commit(topic, name), 2); err != nil {
			return err
		}
		req := kmsg.NewPtrOffsetFetchRequest()
		req.Group = name
		req.Topics = []kmsg.OffsetFetchRequestTopic{{Topic: topic, Partitions: []int32{0, 1}}}
		group := kmsg.NewOffsetFetchRequestGroup()
		group.Group = name
		req.Groups = []kmsg.OffsetFetchRequestGroup{group}
		_, err := e.ask(req, version)
		return err
	},
	10: only(func(_, name string) kmsg.Request {
		req := kmsg.NewPtrFindCoordinatorRequest()
		req.CoordinatorKey, req.CoordinatorKeys = name, []string{name, name + "-2"}
		return req
	}),
	11: func(e *exchange, topic, name string, version int16) error {
		_, err := join(e, topic, name, version)
		return err
	},
	12: asMember(func(name string, member *kmsg.JoinGroupResponse) kmsg.Request {
		req := kmsg.NewPtrHeartbeatRequest()
		req.Group, req.MemberID, req.Generation = name, member.MemberID, member.Generation
		return req
	}),
	13: asMember(func(name string, member *kmsg.JoinGroupResponse) kmsg.Request {
		req := kmsg.NewPtrLeaveGroupRequest()
		req.Group, req.MemberID = name, member.MemberID
		leaving := kmsg.NewLeaveGroupRequestMember()
		leaving.MemberID = member.MemberID
		req.Members = []kmsg.LeaveGroupRequestMember{leaving}
		return req
	}),
	14: asMember(syncGroup),
	15: func(e *exchange, topic, name string, version int16) error {
		member, err := join(e, topic, name, 3)
		if err != nil {
			return err
		}
		if _, err := e.ask(syncGroup(name, member), 0); err != nil {
			return err
		}
		req := kmsg.NewPtrDescribeGroupsRequest()
		req.Groups = []string{name, name + "-missing"}
		_, err = e.ask(req, version)
		return err
	},
	16: only(func(_, _ string) kmsg.Request { return kmsg.NewPtrListGroupsRequest() }),
	17: only(func(_, _ string) kmsg.Request {
		req := kmsg.NewPtrSASLHandshakeRequest()
		req.Mechanism = "PLAIN"
		return req
	}),
	18: only(func(_, _ string) kmsg.Request {
		req := kmsg.NewPtrApiVersionsRequest()
		req.ClientSoftwareName, req.ClientSoftwareVersion = "grammar", "1"
		return req
	}),
	19: only(func(topic, name string) kmsg.Request {
		req := kmsg.NewPtrCreateTopicsRequest()
		for _, each := range []string{topic, name} {
			made := kmsg.NewCreateTopicsRequestTopic()
			made.Topic, made.NumPartitions, made.ReplicationFactor = each, 1, 1
			config := kmsg.NewCreateTopicsRequestTopicConfig()
			config.Name, config.Value = "retention.ms", kmsg.StringPtr("60000")
			made.Configs = []kmsg.CreateTopicsRequestTopicConfig{config}
			req.Topics = append(req.Topics, made)
		}
		return req
	}),
	20: only(func(_, name string) kmsg.Request {
		req := kmsg.NewPtrDeleteTopicsRequest()
		req.TopicNames = []string{name + "-missing"}
		asked := kmsg.NewDeleteTopicsRequestTopic()
		asked.Topic = kmsg.StringPtr(name + "-missing")
		byID := kmsg.NewDeleteTopicsRequestTopic()
		byID.TopicID[0] = 1
		req.Topics = []kmsg.DeleteTopicsRequestTopic{asked, byID}
		return req
	}),
	21: only(func(topic, _ string) kmsg.Request {
		req := kmsg.NewPtrDeleteRecordsRequest()
		req.Topics = []kmsg.DeleteRecordsRequestTopic{{Topic: topic, Partitions: []kmsg.DeleteRecordsRequestTopicPartition{{Offset: 1}}}}
		return req
	}),
	22: only(func(_, name string) kmsg.Request {
		req := kmsg.NewPtrInitProducerIDRequest()
		req.TransactionalID, req.TransactionTimeoutMillis = &name, 60_000
		return req
	}),
	23: only(func(topic, _ string) kmsg.Request {
		req := kmsg.NewPtrOffsetForLeaderEpochRequest()
		req.ReplicaID = -1
		req.Topics = []kmsg.OffsetForLeaderEpochRequestTopic{{Topic: topic, Partitions: []kmsg.OffsetForLeaderEpochRequestTopicPartition{{CurrentLeaderEpoch: -1}}}}
		return req
	}),
	24: only(func(topic, name string) kmsg.Request {
		req := kmsg.NewPtrAddPartitionsToTxnRequest()
		req.TransactionalID = name
		req.Topics = []kmsg.AddPartitionsToTxnRequestTopic{{Topic: topic, Partitions: []int32{0}}}
		return req
	}),
	25: only(func(_, name string) kmsg.Request {
		req := kmsg.NewPtrAddOffsetsToTxnRequest()
		req.TransactionalID, req.Group = name, name
		return req
	}),
	26: only(func(_, name string) kmsg.Request {
		req := kmsg.NewPtrEndTxnRequest()
		req.TransactionalID = name
		return req
	}),
	28: only(func(topic, name string) kmsg.Request {
		req := kmsg.NewPtrTxnOffsetCommitRequest()
		req.TransactionalID, req.Group = name, name
		req.Topics = []kmsg.TxnOffsetCommitRequestTopic{{Topic: topic, Partitions: []kmsg.TxnOffsetCommitRequestTopicPartition{{Offset: 1}}}}
		return req
	}),
	29: only(func(_, _ string) kmsg.Request {
		req := kmsg.NewPtrDescribeACLsRequest()
		req.ResourceType, req.ResourcePatternType, req.Operation, req.PermissionType = 1, 1, 1, 1
		return req
	}),
	30: only(func(topic, _ string) kmsg.Request {
		req := kmsg.NewPtrCreateACLsRequest()
		made := kmsg.NewCreateACLsRequestCreation()
		made.ResourceType, made.ResourceName, made.Principal, made.Host = 2, topic, "User:nobody", "*"
		made.Operation, made.PermissionType = 3, 3
		req.Creations = []kmsg.CreateACLsRequestCreation{made}
		return req
	}),
	31: only(func(topic, _ string) kmsg.Request {
		req := kmsg.NewPtrDeleteACLsRequest()
		filter := kmsg.NewDeleteACLsRequestFilter()
		filter.ResourceType, filter.ResourceName, filter.Operation, filter.PermissionType = 2, &topic, 1, 1
		req.Filters = []kmsg.DeleteACLsRequestFilter{filter}
		return req
	}),
	32: only(func(topic, _ string) kmsg.Request {
		req := kmsg.NewPtrDescribeConfigsRequest()
		req.IncludeSynonyms, req.IncludeDocumentation = true, true
		req.Resources = []kmsg.DescribeConfigsRequestResource{{ResourceType: 2, ResourceName: topic}, {ResourceType: 2, ResourceName: "missing"}}
		return req
	}),
	33: only(func(topic, _ string) kmsg.Request {
		req := kmsg.NewPtrAlterConfigsRequest()
		req.Resources = []kmsg.AlterConfigsRequestResource{{ResourceType: 2, ResourceName: topic}}
		return req
	}),
	35: only(func(_, _ string) kmsg.Request { return kmsg.NewPtrDescribeLogDirsRequest() }),
	36: only(func(_, _ string) kmsg.Request {
		req := kmsg.NewPtrSASLAuthenticateRequest()
		req.SASLAuthBytes = []byte("token")
		return req
	}),
	37: only(func(topic, _ string) kmsg.Request {
		req := kmsg.NewPtrCreatePartitionsRequest()
		req.Topics = []kmsg.CreatePartitionsRequestTopic{{Topic: topic, Count: 1}}
		return req
	}),
	42: only(func(_, name string) kmsg.Request {
		req := kmsg.NewPtrDeleteGroupsRequest()
		req.Groups = []string{name + "-missing"}
		return req
	}),
	44: only(func(topic, _ string) kmsg.Request {
		req := kmsg.NewPtrIncrementalAlterConfigsRequest()
		req.Resources = []kmsg.IncrementalAlterConfigsRequestResource{{ResourceType: 2, ResourceName: topic}}
		return req
	}),
	47: func(e *exchange, topic, name string, version int16) error {
		if _, err := e.ask(commit(topic, name), 2); err != nil {
			return err
		}
		req := kmsg.NewPtrOffsetDeleteRequest()
		req.Group = name
		req.Topics = []kmsg.OffsetDeleteRequestTopic{{Topic: topic, Partitions: []kmsg.OffsetDeleteRequestTopicPartition{{Partition: 0}, {Partition: 9}}}}
		_, err := e.ask(req, version)
		return err
	},
}

func commit(topic, name string) kmsg.Request {
	req := kmsg.NewPtrOffsetCommitRequest()
	req.Group = name
	partition := kmsg.NewOffsetCommitRequestTopicPartition()
	partition.Offset, partition.Metadata = 1, kmsg.StringPtr("noted")
	req.Topics = []kmsg.OffsetCommitRequestTopic{{Topic: topic, Partitions: []kmsg.OffsetCommitRequestTopicPartition{partition}}}
	return req
}

// asMember asks as the only member of a new group.
func asMember(make func(name string, member *kmsg.JoinGroupResponse) kmsg.Request) question {
	return func(e *exchange, topic, name string, version int16) error {
		member, err := join(e, topic, name, 3)
		if err != nil {
			return err
		}
		_, err = e.ask(make(name, member), version)
		return err
	}
}

// join makes a group with one member; from version 4 on that takes two requests.
func join(e *exchange, topic, name string, version int16) (*kmsg.JoinGroupResponse, error) {
	member := ""
	for {
		req := kmsg.NewPtrJoinGroupRequest()
		req.Group, req.MemberID, req.ProtocolType = name, member, "consumer"
		req.SessionTimeoutMillis, req.RebalanceTimeoutMillis = 10_000, 10_000
		subscription := kmsg.NewConsumerMemberMetadata()
		subscription.Topics = []string{topic}
		req.Protocols = []kmsg.JoinGroupRequestProtocol{{Name: "range", Metadata: subscription.AppendTo(nil)}}
		answer, err := e.ask(req, version)
		if err != nil {
			return nil, err
		}
		joined := answer.(*kmsg.JoinGroupResponse)
		if joined.ErrorCode == 0 {
			return joined, nil
		}
		if joined.ErrorCode != 79 || member != "" {
			return nil, fmt.Errorf("joining ended with error %d", joined.ErrorCode)
		}
		member = joined.MemberID
	}
}

func syncGroup(name string, member *kmsg.JoinGroupResponse) kmsg.Request {
	req := kmsg.NewPtrSyncGroupRequest()
	req.Group, req.MemberID, req.Generation = name, member.MemberID, member.Generation
	req.ProtocolType, req.Protocol = kmsg.StringPtr("consumer"), kmsg.StringPtr("range")
	req.GroupAssignment = []kmsg.SyncGroupRequestGroupAssignment{{MemberID: member.MemberID, MemberAssignment: []byte("mine")}}
	return req
}

package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"
)

// records sends keys and headers with every codec, to <topic>-<codec>, and reads them back.
func records(ctx context.Context, brokers, topic string) (result, error) {
	codecs := map[string]kgo.CompressionCodec{
		"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
		"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
	}
	seen := result{}
	for name, codec := range codecs {
		same, err := roundTrip(ctx, brokers, topic+"-"+name, codec)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		seen[name] = same
	}
	return seen, nil
}

// roundTrip counts the records that came back unchanged, in order.
func roundTrip(ctx context.Context, brokers, topic string, codec kgo.CompressionCodec) (int, error) {
	client, err := open(brokers, kgo.ProducerBatchCompression(codec), kgo.ConsumeTopics(topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		return 0, err
	}
	defer client.Close()
	var sent []*kgo.Record
	for number := range 100 {
		sent = append(sent, &kgo.Record{
			Topic:   topic,
			Key:     fmt.Appendf(nil, "key-%d", number),
			Value:   []byte(strings.Repeat("compressible ", number)),
			Headers: []kgo.RecordHeader{{Key: "number", Value: fmt.Append(nil, number)}},
		})
	}
	if err := client.ProduceSync(ctx, sent...).FirstErr(); err != nil {
		return 0, err
	}
	got, err := take(ctx, len(sent), client.PollFetches)
	if err != nil {
		return 0, err
	}
	same := 0
	for index, record := range got {
		if string(record.Key) == string(sent[index].Key) && string(record.Value) == string(sent[index].Value) &&
			len(record.Headers) == 1 && string(record.Headers[0].Value) == fmt.Sprint(index) {
			same++
		}
	}
	return same, nil
}

// Made by `millrace generate` from the Avro contracts in this folder. Change those instead.

/** A used car whose price is asked for. What a text that the model does not know counts as is in the model's card. */
export interface CarPriceEvent {
  /** Model group: selects the model. */
  model_group: 'A' | 'B' | 'C';
  /** Badge number, such as 180 of an A 180. */
  model: number;
  /** Distance driven, kilometers. */
  kilometers: number;
  /** Fuel, such as Diesel. */
  fuel_type: string;
  /** Gearbox, such as Manual. */
  gear_type: string;
  /** Kind of car, such as Sedan Car. */
  vehicle_type: string;
  /** Age in months. */
  age_in_months: number;
  /** Colour, such as Black. */
  color: string;
  /** Trim line, such as Sportline. */
  line: string;
  /** Doors, such as 4 to 5. */
  doors: string;
  /** Seats, such as 4 to 5. */
  seats: string;
  /** Climate control, such as Air Conditioning. */
  climate: string;
}

/** One credit-card client as in the UCI table 'Default of Credit Card Clients' (Taiwan, 2005), without its row number. The months run backwards from September 2005. */
export interface CreditDefaultEvent {
  /** Amount of the given credit, individual and family, in New Taiwan dollars. */
  LIMIT_BAL: number;
  /** 1 = male, 2 = female. */
  SEX: number;
  /** 1 = graduate school, 2 = university, 3 = high school, 4 = others; 0, 5 and 6 occur in the source table undocumented. */
  EDUCATION: number;
  /** 1 = married, 2 = single, 3 = others; 0 occurs in the source table undocumented. */
  MARRIAGE: number;
  /** Age in years. */
  AGE: number;
  /** Repayment status in September 2005: -2 = no consumption, -1 = paid duly, 0 = revolving credit, 1 to 9 = months of delay. */
  PAY_0: number;
  /** Repayment status in August 2005: -2 = no consumption, -1 = paid duly, 0 = revolving credit, 1 to 9 = months of delay. */
  PAY_2: number;
  /** Repayment status in July 2005: -2 = no consumption, -1 = paid duly, 0 = revolving credit, 1 to 9 = months of delay. */
  PAY_3: number;
  /** Repayment status in June 2005: -2 = no consumption, -1 = paid duly, 0 = revolving credit, 1 to 9 = months of delay. */
  PAY_4: number;
  /** Repayment status in May 2005: -2 = no consumption, -1 = paid duly, 0 = revolving credit, 1 to 9 = months of delay. */
  PAY_5: number;
  /** Repayment status in April 2005: -2 = no consumption, -1 = paid duly, 0 = revolving credit, 1 to 9 = months of delay. */
  PAY_6: number;
  /** Bill statement of September 2005 in New Taiwan dollars; negative when the client is in credit. */
  BILL_AMT1: number;
  /** Bill statement of August 2005 in New Taiwan dollars; negative when the client is in credit. */
  BILL_AMT2: number;
  /** Bill statement of July 2005 in New Taiwan dollars; negative when the client is in credit. */
  BILL_AMT3: number;
  /** Bill statement of June 2005 in New Taiwan dollars; negative when the client is in credit. */
  BILL_AMT4: number;
  /** Bill statement of May 2005 in New Taiwan dollars; negative when the client is in credit. */
  BILL_AMT5: number;
  /** Bill statement of April 2005 in New Taiwan dollars; negative when the client is in credit. */
  BILL_AMT6: number;
  /** Amount paid in September 2005 in New Taiwan dollars. */
  PAY_AMT1: number;
  /** Amount paid in August 2005 in New Taiwan dollars. */
  PAY_AMT2: number;
  /** Amount paid in July 2005 in New Taiwan dollars. */
  PAY_AMT3: number;
  /** Amount paid in June 2005 in New Taiwan dollars. */
  PAY_AMT4: number;
  /** Amount paid in May 2005 in New Taiwan dollars. */
  PAY_AMT5: number;
  /** Amount paid in April 2005 in New Taiwan dollars. */
  PAY_AMT6: number;
}

/** What became of a file job. Each event has the whole state, so the newest one of a job is all that counts; `accepted` counts only as the first. */
export interface JobEvent {
  /** Id of the job, a UUID. */
  job_id: string;
  /** Pipeline that scores the rows. */
  pipeline: string;
  /** accepted, checking, publishing, scoring, writing, done or failed. */
  state: string;
  /** When the file was accepted. */
  created_at: number;
  /** When this event was made. */
  at: number;
  /** When the job was done or failed. */
  finished_at: number | null;
  /** Process that works on the job. */
  runner: string | null;
  /** Last part of the name that the client gave the file: for people, never a path. */
  file_name: string;
  /** xlsx, csv or jsonl. */
  format: string;
  /** Size of the file. */
  bytes: number;
  /** Rows of the file, once they are counted. */
  rows_total: number | null;
  /** Rows that were read and are events on the log, or were found to be none. */
  rows_read: number;
  /** Rows among these that make no event. */
  rows_invalid: number;
  /** Rows that have a prediction. */
  rows_scored: number;
  /** Rows that can have none: those that make no event, and dead letters. */
  rows_failed: number;
  /** Why the job failed, to branch on. */
  error_code: string | null;
  /** Why the job failed, for people. */
  error: string | null;
  /** Name of the API key that made the job; null where no key was asked for. */
  owner: string | null;
  /** SHA-256 of the file in lower-case hex; null for jobs of earlier versions. */
  digest: string | null;
  /** How the ids of its rows' events begin, drawn by chance; null for jobs of earlier versions, where that is the job's id. */
  row_ids: string | null;
  /** Name of the result's column of scores. */
  score_column: string;
}

/** What happened to a model: a version was registered, or an alias was moved. The record's key is model/version for the one, model@champion or model@challenger for the other, so that compaction keeps the newest of each. */
export interface ModelEvent {
  /** Name of the model. */
  model: string;
  /** registered = the version may be used from now on; champion, challenger = this alias names the version from now on. */
  kind: 'registered' | 'champion' | 'challenger';
  /** Version of the model; none for a challenger that was taken away. */
  version: string | null;
  /** SHA-256 of the version's model.onnx in lower-case hex; none without a version. */
  digest: string | null;
  /** Version that the alias named before; none at first. */
  previous_version: string | null;
  /** Whether the challenger scores all events that it does not answer, its predictions marked as shadow. */
  shadow: boolean;
  /** Share of the record keys whose events the challenger answers, from 0 to 1. */
  canary_share: number;
  /** What made the event: millrace/start, millrace/http, or where a version was imported from. */
  source: string;
  /** When the event was made. */
  at: number;
}

/** The truth about an event, when it becomes known. */
export interface Outcome {
  /** Id of the event whose truth became known. */
  event_id: string;
  /** What really happened, in the unit of the model's score (a class as 0 or 1). */
  outcome: number;
  /** When the truth became known. */
  observed_at: number;
}

/** One event scored by one version of a model. */
export interface Prediction {
  /** UUIDv5 of event id and model digest: the same event scored by the same model has the same id, however often it is scored. */
  prediction_id: string;
  /** Id of the scored event: the client's own, or a UUIDv7. */
  event_id: string;
  /** Pipeline that scored the event. */
  pipeline: string;
  /** Name of the model. */
  model: string;
  /** Version of the model. */
  model_version: string;
  /** Identity of the version: SHA-256 over its graph and what its model.json says of inputs and outputs, in lower-case hex. Of a version that an earlier release registered: SHA-256 of model.onnx. */
  model_digest: string;
  /** When the event happened: the client's time, else when it was accepted. */
  event_time: number;
  /** When the model scored the event. */
  predicted_at: number;
  /** What the model predicts, in the unit that its card names. Always finite. */
  score: number;
  /** Class for the score, for models that classify. */
  label: string | null;
  /** The event's own fields as JSON. */
  features: string;
  /** CloudEvents source of the event, such as millrace/http. */
  source: string;
  /** Topic of the event's record. */
  topic: string;
  /** Partition of the event's record. */
  partition: number;
  /** Offset of the event's record. */
  offset: number;
  /** Schema registry id that the event's record was written with. */
  schema_id: number;
  /** Milliseconds from when the broker's log, or for a synchronous call the HTTP request, got the event until the model had scored it. */
  latency_ms: number;
  /** As what the model scored: champion and canary predictions answer the event, a shadow one is only kept for comparison. */
  role: 'champion' | 'canary' | 'shadow';
  /** Offset on millrace.models of the alias event under which the model scored; -1 when none is known. */
  model_event: number;
  /** When that alias event was made. */
  model_event_at: number | null;
  /** All named outputs of the model as a JSON object: a number, text or boolean, a list, or for classes an object with the probability of each. Null in predictions of earlier releases. */
  outputs: string | null;
}

/** A run of a schedule, written in one transaction with the events that it made. Its key is the schedule, so the log keeps the last. */
export interface ScheduleRun {
  /** Name of the schedule. */
  schedule: string;
  /** Pipeline that the events are for. */
  pipeline: string;
  /** 1 for the schedule's first run, 2 for the next. */
  run: number;
  /** When it was to run. */
  due_at: number;
  /** When it did. */
  started_at: number;
  /** Events that it made. */
  events: number;
  /** Whether it stands for times that were missed, however many. */
  catch_up: boolean;
}

/** A taxi ride in Chicago. Community areas are the city's, money is in US dollars. */
export interface TaxiTripDurationEvent {
  /** Community area where the ride starts. */
  pickup_community_area: number;
  /** Community area where the ride ends. */
  dropoff_community_area: number;
  /** When the ride starts, from 2000 on. Hour and weekday are taken from it in UTC, as in the model's table. */
  trip_start_timestamp: number;
  /** Fare. */
  fare: number;
  /** Fare, tips and extras together; not used by the model. */
  trip_total: number;
  /** Distance in miles. */
  trip_miles: number;
}

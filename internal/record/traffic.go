package record

// TrafficStore is the file of a run's folder that holds its interface-traffic records, when it collected them and they did not go to an
// Elasticsearch.
const TrafficStore = "records.db"

package api

// The codes of the data file.
const (
	CodeDataLocked     Code = "data_locked"
	CodeDataCorrupt    Code = "data_corrupt"
	CodeDataTooNew     Code = "data_too_new"
	CodeRecordNotFound Code = "record_not_found"
	CodeStreamDeleted  Code = "stream_deleted"
)

-- A worker that is killed while it looks takes its tick to the grave: who has taken one says when, and that it is done.
ALTER TABLE timetable_tick ADD taken_at timestamptz NOT NULL DEFAULT now(), ADD done_at timestamptz;
UPDATE timetable_tick SET done_at = taken_at;
GRANT UPDATE (taken_by, taken_at, done_at) ON timetable_tick TO shoudian_worker;

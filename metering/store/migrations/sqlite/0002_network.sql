-- Bytes of a job's sockets to and from other hosts; NULL where nothing counted them.
ALTER TABLE usage ADD COLUMN network_receive_bytes INTEGER AS (record ->> 'network_receive_bytes');
ALTER TABLE usage ADD COLUMN network_transmit_bytes INTEGER AS (record ->> 'network_transmit_bytes');

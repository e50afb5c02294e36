-- Login users of the services, each a member of the role that `differline migrate` made. Run by whoever may make roles:
--   psql -v ingest=… -v scorer=… -v relay=… -v trainer=… -v dashboard=… -f logins.sql     the values are the passwords
SELECT format('%s USER %I LOGIN PASSWORD %L', CASE WHEN r.oid IS NULL THEN 'CREATE' ELSE 'ALTER' END, name, password)
FROM (VALUES ('ingest', :'ingest'), ('scorer', :'scorer'), ('relay', :'relay'), ('trainer', :'trainer'),
             ('dashboard', :'dashboard')) AS logins (name, password)
LEFT JOIN pg_roles r ON r.rolname = name
\gexec
GRANT differline_ingest TO ingest;
GRANT differline_scorer TO scorer;
GRANT differline_relay TO relay;
GRANT differline_trainer TO trainer;
GRANT differline_dashboard TO dashboard;

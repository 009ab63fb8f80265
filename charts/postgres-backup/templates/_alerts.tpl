{{/* An alert with the labels and annotations of all alerts: {alert, rule}. */}}
{{- define "postgres-backup.alert" -}}
{{- $labels := mustMergeOverwrite (deepCopy .alert.labels) .rule.alertLabels }}
{{- $annotations := .alert.annotations }}
{{- with .rule.runbookUrl }}
{{- $annotations = merge (dict "runbook_url" (printf "%s#%s" . ($.alert.alert | lower))) $annotations }}
{{- end }}
- alert: {{ .alert.alert }}
  expr: |-
    {{- .alert.expr | trim | nindent 4 }}
  {{- with .alert.for }}
  for: {{ . }}
  {{- end }}
  labels:
    {{- toYaml $labels | nindent 4 }}
  annotations:
    {{- toYaml $annotations | nindent 4 }}
{{- end }}

{{/* A metric of a CronJob's Jobs, those created by hand from it included: {namespace, cronjob, metric}. */}}
{{- define "postgres-backup.jobs" -}}
max by (namespace, job_name) ({{ .metric }})
* on (namespace, job_name) max by (namespace, job_name) (kube_job_owner{namespace="{{ .namespace }}", owner_kind="CronJob", owner_name="{{ .cronjob }}"})
{{- end }}

{{/* When the last success ended, of the CronJob's own Jobs and of those created from it by hand. */}}
{{- define "postgres-backup.succeeded" -}}
{{- $metric := printf "kube_job_status_completion_time{namespace=%q}" .namespace -}}
max by (namespace) (
  kube_cronjob_status_last_successful_time{namespace="{{ .namespace }}", cronjob="{{ .cronjob }}"}
  or
  {{- include "postgres-backup.jobs" (merge (dict "metric" $metric) .) | nindent 2 }}
)
{{- end }}

{{/*
When the newest failed Job started, unless a successful one started after it. If no successful Job is left, the time of the
last success counts.
*/}}
{{- define "postgres-backup.failed" -}}
{{- $start := printf "kube_job_status_start_time{namespace=%q}" .namespace -}}
{{- $jobs := include "postgres-backup.jobs" (merge (dict "metric" $start) .) -}}
{{- $of := "* on (namespace, job_name) max by (namespace, job_name) (%s{namespace=%q, condition=\"true\"} == 1)" -}}
{{- $failed := printf "max by (namespace) (\n%s\n)" (printf "%s\n%s" $jobs (printf $of "kube_job_failed" .namespace) | indent 2) -}}
{{ $failed }}
unless (
  (
    max by (namespace) (
{{ printf "%s\n%s" $jobs (printf $of "kube_job_complete" .namespace) | indent 6 }}
    )
    or
    max by (namespace) (kube_cronjob_status_last_successful_time{namespace="{{ .namespace }}", cronjob="{{ .cronjob }}"})
  )
  >
{{ $failed | indent 2 }}
)
{{- end }}

{{/* Jobs that have not ended and have a pending pod, or no pod at all. */}}
{{- define "postgres-backup.notStarted" -}}
{{- $of := "max by (namespace, job_name) (%s{namespace=%q, condition=\"true\"} == 1)" -}}
{{- $metric := `(
  max by (namespace, job_name) (
    max by (namespace, pod) (kube_pod_status_phase{namespace="NS", phase="Pending"} == 1)
    * on (namespace, pod) group_left (job_name) max by (namespace, pod, job_name) (
      label_replace(kube_pod_owner{namespace="NS", owner_kind="Job"}, "job_name", "$1", "owner_name", "(.+)")
    )
  )
  or
  max by (namespace, job_name) (kube_job_status_active{namespace="NS"}) == 0
  unless COMPLETE
  unless FAILED
)` -}}
{{- $metric = $metric | replace "COMPLETE" (printf $of "kube_job_complete" .namespace) | replace "FAILED" (printf $of "kube_job_failed" .namespace) | replace "NS" .namespace -}}
{{ include "postgres-backup.jobs" (merge (dict "metric" $metric) .) }}
{{- end }}

{{/* Seconds since the last success, or, if there was none, since the CronJob was created. */}}
{{- define "postgres-backup.age" -}}
time() - (
{{ include "postgres-backup.succeeded" . | indent 2 }}
  or
  max by (namespace) (kube_cronjob_created{namespace="{{ .namespace }}", cronjob="{{ .cronjob }}"})
)
{{- end }}

{{/* Alerts that do not need the program's own metrics. */}}
{{- define "postgres-backup.kubernetesAlerts" -}}
{{- $v := .cluster.values }}
{{- $rule := $v.prometheusRule }}
{{- $name := .cluster.name }}
{{- $job := dict "namespace" .root.Release.Namespace "cronjob" $name }}
- alert: PostgresBackupJobFailed
  expr: |
    {{- include "postgres-backup.failed" $job | nindent 4 }}
  labels: { severity: warning, cronjob: {{ $name | quote }} }
  annotations:
    summary: The last backup of {{ $name }} failed
    description: 'The newest Job of the CronJob {{ $name }} failed, and none has succeeded since. Its log names the stage, the cause and the setting to change: kubectl -n {{ "{{ $labels.namespace }}" }} logs -l app.kubernetes.io/component=backup --tail=50'
- alert: PostgresBackupLate
  expr: |
    {{- include "postgres-backup.age" $job | nindent 4 }}
    > {{ mulf $rule.warnAfterHours 3600 | int64 }}
  labels: { severity: warning, cronjob: {{ $name | quote }} }
  annotations:
    summary: No backup of {{ $name }} for more than {{ $rule.warnAfterHours }} hours
    description: 'No Job of the CronJob {{ $name }} has succeeded for {{ "{{ $value | humanizeDuration }}" }}. Check whether the CronJob is suspended, whether its last pod started, and what its log says.'
- alert: PostgresBackupMissing
  expr: |
    {{- include "postgres-backup.age" $job | nindent 4 }}
    > {{ mulf $rule.criticalAfterHours 3600 | int64 }}
  labels: { severity: critical, cronjob: {{ $name | quote }} }
  annotations:
    summary: No backup of {{ $name }} for more than {{ $rule.criticalAfterHours }} hours
    description: 'No Job of the CronJob {{ $name }} has succeeded for {{ "{{ $value | humanizeDuration }}" }}. Everything written since then would be lost with the server. Make a backup by hand first, then find the cause.'
{{- range $watched := $v.verify.enabled | ternary (list $name (printf "%s-verify" $name)) (list $name) }}
- alert: PostgresBackupNotStarted
  expr: |
    {{- include "postgres-backup.notStarted" (dict "namespace" $job.namespace "cronjob" $watched) | nindent 4 }}
  for: {{ int $rule.startMinutes }}m
  labels: { severity: warning, cronjob: {{ $watched | quote }} }
  annotations:
    summary: A pod of {{ $watched }} has not started for {{ int $rule.startMinutes }} minutes
    description: 'The Job {{ "{{ $labels.job_name }}" }} has a pod that is pending, or no pod at all. The events name the reason, such as an image that cannot be pulled, a missing Secret, no node with room, or a quota: kubectl -n {{ "{{ $labels.namespace }}" }} describe job {{ "{{ $labels.job_name }}" }}, and describe pods -l batch.kubernetes.io/job-name={{ "{{ $labels.job_name }}" }}'
- alert: PostgresBackupUnwatched
  expr: absent(kube_cronjob_info{namespace="{{ $job.namespace }}", cronjob="{{ $watched }}"})
  for: 15m
  labels: { severity: warning, cronjob: {{ $watched | quote }}, namespace: {{ $job.namespace | quote }} }
  annotations:
    summary: Prometheus has no metrics of the CronJob {{ $watched }}
    description: kube-state-metrics reports no CronJob {{ $watched }}. Either it was deleted, or kube-state-metrics is not scraped. Until that is fixed, the other alerts about it cannot fire.
{{- end }}
{{- with include "postgres-backup.claim" (dict "v" $v "cluster" .cluster) }}
{{- $claim := . }}
- alert: PostgresBackupVolumeFull
  # Kubelets measure a volume only while a pod mounts it on their node; the newest measurement of all nodes counts.
  expr: |
    {{- $of := "last_over_time((max by (namespace, persistentvolumeclaim) (kubelet_volume_stats_%s_bytes{namespace=%q, persistentvolumeclaim=%q}))[%sh:1m])" }}
    {{ printf $of "used" $job.namespace $claim (toString $rule.criticalAfterHours) }}
    / {{ printf $of "capacity" $job.namespace $claim (toString $rule.criticalAfterHours) }}
    > {{ divf $rule.volumePercent 100 }}
  labels: { severity: warning, cronjob: {{ $name | quote }} }
  annotations:
    summary: The backup volume of {{ $name }} is nearly full
    description: 'The claim {{ $claim }} is {{ "{{ $value | humanizePercentage }}" }} full. Enlarge it (persistence.size), or retain fewer backups (RETENTION_DAYS).'
{{- end }}
{{- if $v.verify.enabled }}
{{- $verify := dict "namespace" .root.Release.Namespace "cronjob" (printf "%s-verify" $name) }}
- alert: PostgresBackupVerificationFailed
  expr: |
    {{- include "postgres-backup.failed" $verify | nindent 4 }}
  labels: { severity: critical, cronjob: {{ $verify.cronjob | quote }} }
  annotations:
    summary: The last verification of {{ $name }} failed
    description: 'The newest Job of the CronJob {{ $verify.cronjob }} failed, and none has succeeded since. Its log says whether a backup is bad (exit code 65) or could not be verified (any other code). A backup that failed its verification is no longer counted as good.'
- alert: PostgresBackupVerificationStale
  expr: |
    {{- include "postgres-backup.age" $verify | nindent 4 }}
    > {{ mulf $rule.verifyAfterDays 86400 | int64 }}
  labels: { severity: warning, cronjob: {{ $verify.cronjob | quote }} }
  annotations:
    summary: No verification of {{ $name }} for more than {{ $rule.verifyAfterDays }} days
    description: 'No Job of the CronJob {{ $verify.cronjob }} has succeeded for {{ "{{ $value | humanizeDuration }}" }}. Backups are made, but nothing has shown that they can be restored.'
{{- end }}
{{- end }}

{{/* Alerts about each database, from the program's own metrics. */}}
{{- define "postgres-backup.programAlerts" -}}
{{- $v := .cluster.values }}
{{- $rule := $v.prometheusRule }}
{{- $name := .cluster.name }}
{{- $source := printf "source=%q" (include "postgres-backup.source" $v) }}
{{- $what := "{{ $labels.database }} of {{ $labels.source }}" }}
- alert: PostgresDatabaseBackupLate
  expr: |
    time() - max by (source, database, target) (pg_backup_last_success_timestamp_seconds{ {{- $source -}} }) > {{ mulf $rule.warnAfterHours 3600 | int64 }}
  labels: { severity: warning, cronjob: {{ $name | quote }} }
  annotations:
    summary: 'No good backup of {{ $what }} for more than {{ $rule.warnAfterHours }} hours'
    description: 'The newest good {{ "{{ $labels.target }}" }} backup of {{ $what }} is {{ "{{ $value | humanizeDuration }}" }} old; an age of decades means that there is none. The log of the last run names the cause.'
- alert: PostgresDatabaseBackupMissing
  expr: |
    time() - max by (source, database, target) (pg_backup_last_success_timestamp_seconds{ {{- $source -}} }) > {{ mulf $rule.criticalAfterHours 3600 | int64 }}
  labels: { severity: critical, cronjob: {{ $name | quote }} }
  annotations:
    summary: 'No good backup of {{ $what }} for more than {{ $rule.criticalAfterHours }} hours'
    description: 'The newest good {{ "{{ $labels.target }}" }} backup of {{ $what }} is {{ "{{ $value | humanizeDuration }}" }} old; an age of decades means that there is none. Make a backup by hand first, then find the cause.'
- alert: PostgresBackupRunIncomplete
  expr: |
    max by (source, shard) (pg_backup_run_status{ {{- $source -}} }) == 0
  labels: { severity: warning, cronjob: {{ $name | quote }} }
  annotations:
    summary: 'The last run for {{ "{{ $labels.source }}" }} was incomplete'
    description: 'A database, a side, a verification or pruning failed in the last run for {{ "{{ $labels.source }}" }}. Its log names each failure; `backup status` shows which databases still have a good backup.'
- alert: PostgresBackupMetricsAbsent
  expr: |
    absent(pg_backup_run_completion_timestamp_seconds{ {{- $source -}} })
  for: 26h
  labels: { severity: warning, cronjob: {{ $name | quote }} }
  annotations:
    summary: Prometheus has no program metrics of {{ $name }}
    description: Prometheus has no metrics from the runs of {{ $name }}. Set PUSHGATEWAY_URL or METRICS_TEXTFILE and check that it is scraped with honor_labels, or set prometheusRule.programMetrics to false.
- alert: PostgresBackupSizeAnomaly
  # backups smaller than a megabyte are left out
  expr: |
    abs(
      max by (source, database, target) (pg_backup_stored_bytes{ {{- $source -}} })
      / (quantile_over_time(0.5, (max by (source, database, target) (pg_backup_stored_bytes{ {{- $source -}} }))[14d:1h]) > 1e6)
      - 1
    ) > {{ divf $rule.sizeChangePercent 100 }}
  labels: { severity: warning, cronjob: {{ $name | quote }} }
  annotations:
    summary: 'The backup of {{ $what }} has an unusual size'
    description: 'The newest {{ "{{ $labels.target }}" }} backup of {{ $what }} differs by {{ "{{ $value | humanizePercentage }}" }} from the median of two weeks. Unless that much was deleted or loaded on purpose, check the database before the older backups are pruned.'
- alert: PostgresBackupStorageFull
  expr: |
    max by (source, target) (pg_backup_storage_used_bytes{ {{- $source -}} })
    / max by (source, target) (pg_backup_storage_capacity_bytes{ {{- $source -}} })
    > {{ divf $rule.volumePercent 100 }}
  labels: { severity: warning, cronjob: {{ $name | quote }} }
  annotations:
    summary: 'The backup folder of {{ "{{ $labels.source }}" }} is nearly full'
    description: 'The volume of BACKUP_DIR is {{ "{{ $value | humanizePercentage }}" }} full. Enlarge it (persistence.size), or retain fewer backups (RETENTION_DAYS).'
- alert: PostgresDatabaseVerificationFailed
  expr: |
    min by (source, database) (pg_backup_verification_status{ {{- $source -}} }) == 0
  labels: { severity: critical, cronjob: {{ $name | quote }} }
  annotations:
    summary: 'The newest verification of {{ $what }} failed'
    description: 'A backup of {{ $what }}, restored, differs from what was dumped, and is no longer counted as good. The report stored beside it names the checks that failed.'
{{- if or $v.verify.enabled (include "postgres-backup.isTrue" $v.settings.VERIFY_ENABLED) }}
- alert: PostgresDatabaseVerificationStale
  expr: |
    time() - max by (source, database) (pg_backup_verification_timestamp_seconds{ {{- $source -}} }) > {{ mulf $rule.verifyAfterDays 86400 | int64 }}
  labels: { severity: warning, cronjob: {{ $name | quote }} }
  annotations:
    summary: 'No verification of {{ $what }} for more than {{ $rule.verifyAfterDays }} days'
    description: 'Backups of {{ $what }} are made, but none has been verified for {{ "{{ $value | humanizeDuration }}" }}. Check the Jobs of the verification.'
- alert: PostgresDatabaseNeverVerified
  expr: |
    max by (source, database) (pg_backup_backups{ {{- $source -}} }) > 0
    unless on (source, database)
    pg_backup_verification_timestamp_seconds{ {{- $source -}} }
  for: {{ mulf $rule.verifyAfterDays 24 | int64 }}h
  labels: { severity: warning, cronjob: {{ $name | quote }} }
  annotations:
    summary: 'No backup of {{ $what }} has ever been verified'
    description: 'Backups of {{ $what }} have been made for more than {{ $rule.verifyAfterDays }} days, but none has been verified. Check the Jobs of the verification.'
{{- end }}
{{- end }}

{{/* The label `source` of the program's metrics; empty if the values do not determine it. */}}
{{- define "postgres-backup.source" -}}
{{- $host := include "postgres-backup.text" .settings.POSTGRES_HOST }}
{{- with include "postgres-backup.text" .settings.BACKUP_SOURCE }}
{{- . }}
{{- else }}
{{- if and $host (not (hasKey .secret.keys "POSTGRES_PORT")) (not (hasKey .secret.keys "BACKUP_SOURCE")) }}
{{- printf "%s:%s" $host (include "postgres-backup.text" .settings.POSTGRES_PORT | default "5432") }}
{{- end }}
{{- end }}
{{- end }}

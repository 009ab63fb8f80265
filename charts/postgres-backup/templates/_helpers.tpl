{{/* A name cut to a number of characters, {name, number}. A cut name ends in a digest of the whole, so that it stays unique. */}}
{{- define "postgres-backup.short" -}}
{{- $name := index . 0 }}
{{- $most := index . 1 | int }}
{{- if le (len $name) $most }}
{{- $name }}
{{- else }}
{{- printf "%s-%s" ($name | trunc (int (sub $most 7)) | trimAll "-") ($name | sha256sum | trunc 6) }}
{{- end }}
{{- end }}

{{- define "postgres-backup.chartname" -}}
{{- .Values.nameOverride | default .Chart.Name }}
{{- end }}

{{/* At most 45 characters, so that a CronJob's suffix fits into 52 and a Job's into 63. */}}
{{- define "postgres-backup.fullname" -}}
{{- $name := include "postgres-backup.chartname" . }}
{{- if .Values.fullnameOverride }}
{{- $name = .Values.fullnameOverride }}
{{- else if contains $name .Release.Name }}
{{- $name = .Release.Name }}
{{- else }}
{{- $name = printf "%s-%s" .Release.Name $name }}
{{- end }}
{{- include "postgres-backup.short" (list $name 45) }}
{{- end }}

{{/*
The servers of the release as JSON, {items: [{key, name, values}]}: the entries of `clusters`, each merged over the values
beside it, or those values alone.
*/}}
{{- define "postgres-backup.clusters" -}}
{{- $root := . }}
{{- $full := include "postgres-backup.fullname" . }}
{{- $shared := omit .Values "clusters" "dashboard" "commonLabels" "nameOverride" "fullnameOverride" "global" }}
{{- /* Helm deletes a key that a values file leaves empty (`settings:`) */}}
{{- $shared = mustMergeOverwrite (include "postgres-backup.empty" . | fromYaml) (deepCopy $shared) }}
{{- $items := list }}
{{- range $key, $own := .Values.clusters }}
{{- $name := include "postgres-backup.short" (list (printf "%s-%s" $full $key) 45) }}
{{- $values := mustMergeOverwrite (deepCopy $shared) (deepCopy ($own | default dict)) | include "postgres-backup.pruned" | fromJson }}
{{- $items = append $items (dict "key" $key "name" $name "values" $values) }}
{{- else }}
{{- $items = list (dict "key" "" "name" $full "values" $shared) }}
{{- end }}
{{- range $items }}
{{- include "postgres-backup.check" (dict "root" $root "cluster" .) }}
{{- end }}
{{- dict "items" $items | toJson }}
{{- end }}

{{/* A map as JSON without its nulls: in an entry of `clusters`, too, null unsets a value. */}}
{{- define "postgres-backup.pruned" -}}
{{- $kept := dict }}
{{- range $key, $value := . }}
{{- if kindIs "map" $value }}
{{- $_ := set $kept $key (include "postgres-backup.pruned" $value | fromJson) }}
{{- else if not (kindIs "invalid" $value) }}
{{- $_ := set $kept $key $value }}
{{- end }}
{{- end }}
{{- $kept | toJson }}
{{- end }}

{{- define "postgres-backup.empty" -}}
settings: {}
secret: { name: "", keys: {}, asFiles: false, create: false, data: {} }
podLabels: {}
extraVolumes: []
serviceAccount: { annotations: {} }
persistence: { annotations: {} }
verify: { settings: {}, secret: { keys: {} }, resources: {}, server: { configuration: {}, securityContext: {}, resources: {} } }
restore: { settings: {}, secret: { keys: {} }, resources: {}, args: [] }
prometheusRule: { labels: {}, alertLabels: {} }
{{- end }}

{{/* Refuses values that would fail or surprise only when the CronJob runs. */}}
{{- define "postgres-backup.check" -}}
{{- $v := .cluster.values }}
{{- $where := .cluster.key | empty | ternary "" (printf "clusters.%s." .cluster.key) }}
{{- $target := include "postgres-backup.target" $v }}
{{- $isSharded := gt (int $v.sharding.shards) 1 }}
{{- $secrets := splitList "\n" (.root.Files.Get "files/secret-settings.txt" | trim) }}
{{- range $name, $value := mustMergeOverwrite (dict) $v.settings $v.verify.settings $v.restore.settings }}
{{- if has $name $secrets }}
{{- fail (printf "%ssettings.%s is a secret, which does not belong in values: put it into the Secret of secret.name under that name, or name its Secret and key in secret.keys.%s" $where $name $name) }}
{{- end }}
{{- end }}
{{- range $name := list "BACKUP_TARGET" "BACKUP_MODE" "REMOTE_KIND" }}
{{- if hasKey $v.secret.keys $name }}
{{- fail (printf "%ssecret.keys.%s: the chart itself reads this setting: set it in settings" $where $name) }}
{{- end }}
{{- end }}
{{- range $block := list $v $v.verify $v.restore }}
{{- range $name, $from := $block.secret.keys }}
{{- if ne (include "postgres-backup.text" (get $block.settings $name)) "" }}
{{- fail (printf "%s%s is set twice, in settings and in secret.keys: remove one of them" $where $name) }}
{{- end }}
{{- end }}
{{- end }}
{{- $files := list }}
{{- range concat (keys $v.secret.keys) ($v.secret.create | ternary (keys $v.secret.data) list) }}
{{- if has . $secrets }}
{{- $files = append $files . }}
{{- end }}
{{- end }}
{{- if and $v.secret.asFiles (not $files) }}
{{- fail (printf "%ssecret.asFiles mounts the secrets that secret.keys names, and it names none: add them, or set secret.asFiles to false" $where) }}
{{- end }}
{{- range $v.extraVolumes }}
{{- if has .name (list "scratch" "backups" "secrets" "age" "server-socket" "server-tmp" "server-data") }}
{{- fail (printf "%sextraVolumes: the chart has a volume %s of its own: use another name" $where .name) }}
{{- end }}
{{- end }}
{{- range $block, $own := dict "verify" $v.verify "restore" $v.restore }}
{{- $other := include "postgres-backup.text" $own.settings.BACKUP_TARGET }}
{{- if and (eq $target "remote") $other (ne $other "remote") }}
{{- fail (printf "%s%s.settings.BACKUP_TARGET is %s, but backups are only remote: remove it" $where $block $other) }}
{{- end }}
{{- end }}
{{- if and (eq $target "remote") (has $v.verify.location (list "local" "all")) }}
{{- fail (printf "%sverify.location is %s, but backups are only remote: remove it" $where $v.verify.location) }}
{{- end }}
{{- if and $v.prometheusRule.enabled (eq (int $v.failedJobsHistoryLimit) 0) }}
{{- fail (printf "%sfailedJobsHistoryLimit is 0, but an alert reads failed Jobs: set it to 1 or more, or prometheusRule.enabled to false" $where) }}
{{- end }}
{{- if and $v.prometheusRule.enabled $v.prometheusRule.programMetrics (not (include "postgres-backup.source" $v)) }}
{{- fail (printf "%sprometheusRule.programMetrics needs the name of the source, and the values do not contain the server's address: set settings.BACKUP_SOURCE" $where) }}
{{- end }}
{{- if and (ne $target "remote") (not $v.persistence.enabled) }}
{{- fail (printf "%ssettings.BACKUP_TARGET is %s, which keeps backups in a volume: set persistence.enabled to true, or BACKUP_TARGET to remote" $where $target) }}
{{- end }}
{{- if and $isSharded (ne $target "remote") (not (has "ReadWriteMany" $v.persistence.accessModes)) }}
{{- fail (printf "%ssharding.shards is %d, but pods on several nodes can only share a volume that is ReadWriteMany: set persistence.accessModes to [ReadWriteMany], or settings.BACKUP_TARGET to remote" $where (int $v.sharding.shards)) }}
{{- end }}
{{- if and $isSharded (eq (include "postgres-backup.text" $v.settings.BACKUP_MODE) "cluster") }}
{{- fail (printf "%ssettings.BACKUP_MODE is cluster, one archive of the whole server, which sharding.shards cannot divide: remove one of them" $where) }}
{{- end }}
{{- if and $v.restore.confirm (ne $v.restore.confirm $v.restore.database) }}
{{- fail (printf "%srestore.confirm is %q and restore.database %q: they must be the same" $where $v.restore.confirm $v.restore.database) }}
{{- end }}
{{- if and $v.restore.confirm .root.Release.IsUpgrade }}
{{- fail (printf "%srestore.confirm: a restore cannot be part of a release, which would repeat it at every upgrade: use make k8s-restore, or helm template … --show-only templates/restore-job.yaml | kubectl create -f -" $where) }}
{{- end }}
{{- if and .cluster.key .root.Values.restore.database }}
{{- fail "restore.database would restore to every server of clusters: set it in the entry of one of them" }}
{{- end }}
{{- if and .cluster.key $v.verify.enabled (hasKey .root.Values.clusters (printf "%s-verify" .cluster.key)) }}
{{- fail (printf "clusters.%s-verify would have the name of the verification of clusters.%s: use another one" .cluster.key .cluster.key) }}
{{- end }}
{{- end }}

{{/* The claim that pods of these values mount, {cluster, v}; empty where backups are only remote. */}}
{{- define "postgres-backup.claim" -}}
{{- if ne (include "postgres-backup.target" .v) "remote" }}
{{- .v.persistence.existingClaim | default .cluster.name }}
{{- end }}
{{- end }}

{{/* The claim as a label, by which pods that mount it find each other. */}}
{{- define "postgres-backup.claimLabel" -}}
{{- with include "postgres-backup.claim" . }}
{{- dict "postgres-backup/claim" (include "postgres-backup.short" (list . 63)) | toYaml }}
{{- end }}
{{- end }}

{{/*
The affinity of a pod: that of the values, and for a ReadWriteOnce claim to the node where a pod with this claim runs. The
first such pod may go anywhere, because it has the label itself; pods that have ended do not count.
*/}}
{{- define "postgres-backup.affinity" -}}
{{- $affinity := deepCopy (.v.affinity | default dict) }}
{{- $modes := .v.persistence.accessModes }}
{{- $label := include "postgres-backup.claimLabel" . | fromYaml }}
{{- if and $label (has "ReadWriteOnce" $modes) (not (has "ReadWriteMany" $modes)) }}
{{- $required := "requiredDuringSchedulingIgnoredDuringExecution" }}
{{- $pods := $affinity.podAffinity | default dict }}
{{- $term := dict "topologyKey" "kubernetes.io/hostname" "labelSelector" (dict "matchLabels" $label) }}
{{- $_ := set $affinity "podAffinity" (set $pods $required (append (get $pods $required | default list) $term)) }}
{{- end }}
{{- if $affinity }}{{ toYaml $affinity }}{{ end }}
{{- end }}

{{- define "postgres-backup.target" -}}
{{- include "postgres-backup.text" .settings.BACKUP_TARGET | default "local" }}
{{- end }}

{{/* A value as the program reads it; Kubernetes would expand $(NAME). */}}
{{- define "postgres-backup.text" -}}
{{- if and (kindIs "float64" .) (eq . (floor .)) }}
{{- int64 . }}
{{- else if not (kindIs "invalid" .) }}
{{- . | toString | replace "$(" "$$(" }}
{{- end }}
{{- end }}

{{- define "postgres-backup.selector" -}}
app.kubernetes.io/name: {{ include "postgres-backup.short" (list (include "postgres-backup.chartname" .root) 63) | quote }}
app.kubernetes.io/instance: {{ .root.Release.Name | quote }}
{{- with .cluster }}{{ with .key }}
postgres-backup/cluster: {{ . | quote }}
{{- end }}{{ end }}
{{- with .component }}
app.kubernetes.io/component: {{ . }}
{{- end }}
{{- end }}

{{/* Labels of an object: {root, cluster?, component?, more?}. */}}
{{- define "postgres-backup.labels" -}}
{{- $own := dict
  "app.kubernetes.io/version" .root.Chart.AppVersion
  "app.kubernetes.io/managed-by" .root.Release.Service
  "helm.sh/chart" (printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_") }}
{{- $more := mustMergeOverwrite (deepCopy (.root.Values.commonLabels | default dict)) (.more | default dict) }}
{{- merge $own (include "postgres-backup.selector" . | fromYaml) $more | toYaml }}
{{- end }}

{{- define "postgres-backup.image" -}}
{{- with .registry }}{{ . }}/{{ end }}{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag }}{{ end }}
{{- end }}

{{- define "postgres-backup.serviceAccountName" -}}
{{- $account := .cluster.values.serviceAccount }}
{{- $account.name | default ($account.create | ternary (include "postgres-backup.fullname" .root) "default") }}
{{- end }}

{{/* Not empty if the program reads the setting as true. */}}
{{- define "postgres-backup.isTrue" -}}
{{- include "postgres-backup.text" . | lower | regexFind "^(true|yes|on|1)$" }}
{{- end }}

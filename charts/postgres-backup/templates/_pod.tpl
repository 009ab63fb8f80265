{{/*
A pod template: {root, cluster, component, args, block, identity, server}. `block` are the values of one kind of pod
(`verify`, `restore`), whose settings, secret and resources take precedence; `identity` mounts the age private key; `server`
are the values of a PostgreSQL server in the same pod.
*/}}
{{- define "postgres-backup.pod" -}}
{{- $own := pick (.block | default dict) "settings" "secret" "resources" }}
{{- $v := mustMergeOverwrite (deepCopy .cluster.values) (deepCopy $own) }}
{{- /* a setting of the block takes precedence over a key of the server's values, and the other way round */}}
{{- with .block }}
{{- range $name, $value := .settings }}
{{- $_ := unset $v.secret.keys $name }}
{{- end }}
{{- range $name, $from := .secret.keys }}
{{- $_ := unset $v.settings $name }}
{{- end }}
{{- end }}
{{- $context := dict "root" .root "cluster" .cluster "component" .component "v" $v "server" .server "identity" (and .identity $v.encryption.identity.secretName) }}
metadata:
  labels:
    {{- include "postgres-backup.labels" (merge (dict "more" (merge (include "postgres-backup.claimLabel" $context | fromYaml) $v.podLabels)) .) | nindent 4 }}
  {{- with $v.podAnnotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  restartPolicy: Never
  serviceAccountName: {{ include "postgres-backup.serviceAccountName" . | quote }}
  automountServiceAccountToken: {{ $v.serviceAccount.automount }}
  # a Service called "postgres" would otherwise set POSTGRES_PORT
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ int $v.terminationGracePeriodSeconds }}
  {{- with $v.image.pullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $v.priorityClassName }}
  priorityClassName: {{ . | quote }}
  {{- end }}
  {{- with $v.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $v.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with include "postgres-backup.affinity" $context }}
  affinity:
    {{- . | nindent 4 }}
  {{- end }}
  securityContext:
    {{- toYaml $v.podSecurityContext | nindent 4 }}
  {{- if .server }}
  initContainers:
    {{- include "postgres-backup.serverContainer" $context | trim | nindent 4 }}
  {{- end }}
  containers:
    - name: backup
      image: {{ include "postgres-backup.image" (merge (dict "tag" ($v.image.tag | default .root.Chart.AppVersion)) $v.image) | quote }}
      imagePullPolicy: {{ $v.image.pullPolicy }}
      args:
        {{- range .args }}
        - {{ include "postgres-backup.text" . | quote }}
        {{- end }}
      env:
        {{- include "postgres-backup.env" $context | trim | nindent 8 }}
      resources:
        {{- toYaml $v.resources | nindent 8 }}
      securityContext:
        {{- toYaml $v.securityContext | nindent 8 }}
      volumeMounts:
        {{- include "postgres-backup.mounts" $context | trim | nindent 8 }}
  volumes:
    {{- include "postgres-backup.volumes" $context | trim | nindent 4 }}
{{- end }}

{{/* Secrets as JSON, {SETTING: {name, key, optional, isFile}}. */}}
{{- define "postgres-backup.secretKeys" -}}
{{- $secret := .v.secret }}
{{- $name := $secret.name | default (include "postgres-backup.fullname" .root) }}
{{- $found := dict }}
{{- $own := $secret.create | ternary (keys $secret.data) list }}
{{- $known := splitList "\n" (.root.Files.Get "files/secret-settings.txt" | trim) }}
{{- range $setting := $secret.asFiles | ternary $own (concat $known $own | uniq) }}
{{- $_ := set $found $setting (dict "name" $name "key" $setting "optional" (not (has $setting $own))) }}
{{- end }}
{{- range $setting, $from := $secret.keys }}
{{- $_ := set $found $setting (dict "name" ($from.name | default $name) "key" ($from.key | default $setting) "optional" false) }}
{{- end }}
{{- /* a path in settings replaces the secret, and the server in the same pod needs none */}}
{{- range $setting := keys $found }}
{{- $isOfServer := has $setting (list "VERIFY_HOST" "VERIFY_PORT" "VERIFY_USER" "VERIFY_PASSWORD") }}
{{- if or (get $.v.settings (printf "%s_FILE" $setting)) (and $.server $isOfServer) }}
{{- $_ := unset $found $setting }}
{{- else }}
{{- $_ := set (get $found $setting) "isFile" (and $secret.asFiles (has $setting $known)) }}
{{- end }}
{{- end }}
{{- $found | toJson }}
{{- end }}

{{- define "postgres-backup.env" -}}
{{- $v := .v }}
{{- $settings := dict "BACKUP_DIR" "/backups" }}
{{- range $name, $value := $v.settings }}
{{- $text := include "postgres-backup.text" $value }}
{{- if $text }}
{{- $_ := set $settings $name $text }}
{{- end }}
{{- end }}
{{- if and (eq .component "backup") (gt (int $v.sharding.shards) 1) }}
{{- $_ := set $settings "SHARD_COUNT" (toString (int $v.sharding.shards)) }}
{{- end }}
{{- if .identity }}
{{- $_ := set $settings "AGE_IDENTITY_FILE" (printf "/run/secrets/age/%s" $v.encryption.identity.key) }}
{{- end }}
{{- if .server }}
{{- $settings = mustMergeOverwrite $settings (dict "VERIFY_HOST" "/run/postgresql" "VERIFY_PORT" "5432" "VERIFY_USER" "postgres") }}
{{- end }}
{{- range $name, $value := $settings }}
- name: {{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- range $setting, $from := include "postgres-backup.secretKeys" . | fromJson }}
{{- if $from.isFile }}
- name: {{ $setting }}_FILE
  value: /run/secrets/postgres-backup/{{ $setting }}
{{- else }}
- name: {{ $setting }}
  valueFrom:
    secretKeyRef:
      name: {{ $from.name | quote }}
      key: {{ $from.key | quote }}
      {{- if $from.optional }}
      optional: true
      {{- end }}
{{- end }}
{{- end }}
{{- with $v.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "postgres-backup.mounts" -}}
{{- $v := .v }}
- name: scratch
  mountPath: /tmp
{{- if include "postgres-backup.claim" . }}
- name: backups
  mountPath: /backups
{{- end }}
{{- if $v.secret.asFiles }}
- name: secrets
  mountPath: /run/secrets/postgres-backup
  readOnly: true
{{- end }}
{{- if .identity }}
- name: age
  mountPath: /run/secrets/age
  readOnly: true
{{- end }}
{{- if .server }}
- name: server-socket
  mountPath: /run/postgresql
{{- end }}
{{- with $v.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "postgres-backup.volumes" -}}
{{- $v := .v }}
- name: scratch
  emptyDir:
    sizeLimit: {{ $v.scratch.sizeLimit | quote }}
{{- with include "postgres-backup.claim" . }}
- name: backups
  persistentVolumeClaim:
    claimName: {{ . | quote }}
{{- end }}
{{- if $v.secret.asFiles }}
- name: secrets
  projected:
    defaultMode: 0440
    sources:
      {{- range $setting, $from := include "postgres-backup.secretKeys" . | fromJson }}
      {{- if $from.isFile }}
      - secret:
          name: {{ $from.name | quote }}
          items:
            - key: {{ $from.key | quote }}
              path: {{ $setting }}
      {{- end }}
      {{- end }}
{{- end }}
{{- if .identity }}
- name: age
  secret:
    secretName: {{ $v.encryption.identity.secretName | quote }}
    defaultMode: 0440
    items:
      - key: {{ $v.encryption.identity.key | quote }}
        path: {{ $v.encryption.identity.key | quote }}
{{- end }}
{{- if .server }}
- name: server-socket
  emptyDir:
    sizeLimit: 1Mi
- name: server-tmp
  emptyDir:
    sizeLimit: 64Mi
- name: server-data
  {{- with .server.storage }}
  {{- if .storageClassName }}
  ephemeral:
    volumeClaimTemplate:
      spec:
        accessModes: [ReadWriteOnce]
        storageClassName: {{ .storageClassName | quote }}
        resources:
          requests:
            storage: {{ .size | quote }}
  {{- else }}
  emptyDir:
    sizeLimit: {{ .size | quote }}
  {{- end }}
  {{- end }}
{{- end }}
{{- with $v.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/*
A PostgreSQL server for one verification. It is reached only by its socket and so needs no password. It is ready when it is
process 1; before that, its image starts and stops it once to initialize.
*/}}
{{- define "postgres-backup.serverContainer" -}}
- name: postgres
  image: {{ include "postgres-backup.image" .server.image | quote }}
  imagePullPolicy: {{ .server.image.pullPolicy }}
  restartPolicy: Always
  args:
    - postgres
    - -c
    - listen_addresses=
    - -c
    - unix_socket_directories=/run/postgresql
    {{- range $name, $value := .server.configuration }}
    - -c
    - {{ printf "%s=%s" $name (include "postgres-backup.text" $value) | quote }}
    {{- end }}
  env:
    - name: PGDATA
      value: /var/lib/postgresql/scratch/data
    # the image does not start without one; connections over the socket do not use it
    - name: POSTGRES_PASSWORD
      value: unused
  startupProbe:
    exec:
      command: [sh, -c, '[ "$(cat /proc/1/comm)" = postgres ] && pg_isready -q -h /run/postgresql']
    periodSeconds: 2
    failureThreshold: 150
  resources:
    {{- toYaml .server.resources | nindent 4 }}
  securityContext:
    {{- toYaml (mustMergeOverwrite (deepCopy .v.securityContext) .server.securityContext) | nindent 4 }}
  volumeMounts:
    - name: server-data
      mountPath: /var/lib/postgresql/scratch
    - name: server-socket
      mountPath: /run/postgresql
    - name: server-tmp
      mountPath: /tmp
{{- end }}

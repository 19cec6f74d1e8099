# Two accounts: one that answers, one that builds and releases. Neither has a key, and neither may change who may what.

resource "google_service_account" "run" {
  account_id   = "tandem-run"
  display_name = "Tandem, the service and its migrations"
}

resource "google_service_account" "build" {
  account_id   = "tandem-build"
  display_name = "Tandem, the pipeline"
}

resource "google_project_iam_member" "run" {
  for_each = toset([
    "roles/aiplatform.user",       # to ask the models
    "roles/cloudsql.client",       # to find the database and be let through
    "roles/cloudsql.instanceUser", # to log in to it
    "roles/logging.logWriter"      # to write its log
  ])

  project = var.project
  role    = each.key
  member  = google_service_account.run.member
}

resource "google_secret_manager_secret_iam_member" "database_url" {
  secret_id = google_secret_manager_secret.database_url.id
  role      = "roles/secretmanager.secretAccessor"
  member    = google_service_account.run.member
}

resource "google_secret_manager_secret_iam_member" "redis_url" {
  count = var.redis ? 1 : 0

  secret_id = google_secret_manager_secret.redis_url[0].id
  role      = "roles/secretmanager.secretAccessor"
  member    = google_service_account.run.member
}

resource "google_project_iam_member" "build" {
  for_each = toset([
    "roles/containeranalysis.notes.editor",       # to file the list of parts with an image
    "roles/containeranalysis.occurrences.editor", # the same
    "roles/logging.logWriter",                    # the build's own log
    "roles/logging.viewer",                       # to watch how the new revision answers
    "roles/ondemandscanning.admin",               # to scan an image before it is pushed
    "roles/run.developer"                         # to deploy, to move traffic, to run the job; not to say who may call
  ])

  project = var.project
  role    = each.key
  member  = google_service_account.build.member
}

# `gcloud builds submit` puts the sources into a bucket named after the project, PROJECT_cloudbuild or one of a region.
resource "google_project_iam_member" "build_reads_sources" {
  project = var.project
  role    = "roles/storage.objectViewer"
  member  = google_service_account.build.member

  condition {
    title      = "sources-of-builds"
    expression = "resource.name.startsWith(\"projects/_/buckets/${var.project}_\")"
  }
}

# What the pipeline deploys runs as tandem-run, and it must be allowed to say so; as nobody else.
resource "google_service_account_iam_member" "build_acts_as_run" {
  service_account_id = google_service_account.run.name
  role               = "roles/iam.serviceAccountUser"
  member             = google_service_account.build.member
}

resource "google_artifact_registry_repository_iam_member" "build" {
  repository = google_artifact_registry_repository.tandem.name
  location   = google_artifact_registry_repository.tandem.location
  role       = "roles/artifactregistry.writer"
  member     = google_service_account.build.member
}

resource "google_storage_bucket_iam_member" "build" {
  bucket = google_storage_bucket.sbom.name
  role   = "roles/storage.objectAdmin"
  member = google_service_account.build.member
}

# Who may call: those who are named, the pipeline's smoke test, and the uptime check.
resource "google_cloud_run_v2_service_iam_member" "invokers" {
  for_each = var.image == "" ? {} : merge({ for invoker in var.invokers : invoker => invoker }, {
    smoke  = google_service_account.build.member
    uptime = "serviceAccount:service-${data.google_project.this.number}@gcp-sa-monitoring-notification.iam.gserviceaccount.com"
  })

  name     = google_cloud_run_v2_service.tandem[0].name
  location = var.region
  role     = "roles/run.invoker"
  member   = each.value
}

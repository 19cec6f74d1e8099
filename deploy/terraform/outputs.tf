output "service_url" {
  description = "Where the service is; null before there is an image."
  value       = one(google_cloud_run_v2_service.tandem[*].uri)
}

output "registry" {
  description = "Where images are pushed."
  value       = "${var.region}-docker.pkg.dev/${var.project}/${google_artifact_registry_repository.tandem.repository_id}"
}

output "sql_instance" {
  description = "CLOUDSQL_INSTANCE."
  value       = local.env.CLOUDSQL_INSTANCE
}

output "sbom_bucket" {
  description = "_SBOM_BUCKET of the pipeline."
  value       = google_storage_bucket.sbom.url
}

output "build_service_account" {
  description = "The account of the pipeline; a trigger must name it."
  value       = google_service_account.build.id
}

output "connections_at_most" {
  description = "Connections that two whole fleets and the jobs can open; sql_max_connections is above it."
  value       = 2 * var.max_instances * (var.database_pool_size + 10) + 4
}

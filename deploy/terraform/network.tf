# The service, its database and its Redis meet in a network of their own, on private addresses.

resource "google_compute_network" "tandem" {
  name                    = "tandem"
  auto_create_subnetworks = false

  depends_on = [google_project_service.apis]
}

# Direct egress takes addresses here: about twice the instances, and Cloud Run keeps them for a while.
resource "google_compute_subnetwork" "run" {
  name                     = "tandem-${var.region}"
  network                  = google_compute_network.tandem.id
  region                   = var.region
  ip_cidr_range            = "10.8.0.0/22"
  private_ip_google_access = true
}

# Where Google puts the database and Redis, joined to the network.
resource "google_compute_global_address" "services" {
  name          = "tandem-services"
  network       = google_compute_network.tandem.id
  purpose       = "VPC_PEERING"
  address_type  = "INTERNAL"
  prefix_length = 20
}

resource "google_service_networking_connection" "services" {
  network                 = google_compute_network.tandem.id
  service                 = "servicenetworking.googleapis.com"
  reserved_peering_ranges = [google_compute_global_address.services.name]
}
